// SPDX-License-Identifier: GPL-2.0

//! Booting Xen with a dom0 in QEMU.
//!
//! Always in software emulation: it is the same on every machine, and nested virtualisation,
//! where there is any, is not.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::io::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::console::{Console, Verdict};
use crate::ktap::Outcome;
use crate::lane::{Dom0, Drivers, Lane};
use crate::place;
use crate::project::Project;
use crate::root::XEN;

/// A guest that says nothing for so long hangs: no test may take longer.
const SILENCE: Duration = Duration::from_secs(150);

/// No boot may take longer, whatever it says.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// The same where tests take the time to show all that they can.
const LONG_SILENCE: Duration = Duration::from_secs(10 * 60);
const LONG_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The same where programs made by chance run, none of which takes long. Only their other side does, until it is there.
const PROGRAMS_SILENCE: Duration = Duration::from_secs(100);

/// The same for measuring, where a single operation can be a long one and the clock counts
/// instructions.
const BENCH_SILENCE: Duration = Duration::from_secs(15 * 60);
const BENCH_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Megabytes of the machine beyond dom0's: Xen's and the guests'.
const OTHER_MEMORY: u32 = 1024;
/// The same where clients are tried: their image is large, and guests are many.
const CLIENTS_OTHER_MEMORY: u32 = 3072;
const CLIENTS_DOM0_MEMORY: u32 = 2048;
/// The same for measuring, where another domain's memory is mapped, and 1 GiB goes to Xen and comes back.
const BENCH_MACHINE_MEMORY: u32 = 3072;
const BENCH_DOM0_MEMORY: u32 = 2048;
/// How many processors are used at once, at most.
const SCALING_PROCESSORS: u32 = 4;

/// The processors that domains run on, the dom0's own among them, where there is more than one.
///
/// The first is left to Xen. In QEMU's emulation, each processor that loads a floating point state
/// (FXRSTOR, XRSTOR) clears a flag of the *first* processor, with a plain read and write
/// (`cpu_clear_ignne` in target/i386/tcg/system/fpu_helper.c). If the first is just entering or
/// leaving a virtual machine, its own change to the same word is lost: Xen then runs with nested
/// paging or the guest without, which ends in a triple fault of a PVH domain, about once in two
/// minutes. A first processor that enters no virtual machine has nothing to lose.
pub const DOMAINS_PROCESSORS: &str = "1-2";

/// Megabytes of the first processor's node. Domains' memory is elsewhere.
const FIRST_NODE_MEMORY: u32 = 256;

/// Megabytes of translated code. When it is full, the processors are stopped for it to be emptied,
/// and one that has just been given an interrupt by Xen takes it twice (`helper_vmrun` leaves
/// `exception_index` behind): there is room for several times what a boot translates.
const TRANSLATED: u32 = 1024;

/// Where Xen is to put dom0, if there is a choice of processors.
const DOM0_NODE: &str = " dom0_nodes=1";

/// With three processors Linux would count time by the TSC, which takes long to read here: it
/// complains of that every five seconds, in the midst of other lines.
const CLOCK: &str = " tsc=unstable";

/// The first process of a dom0 that measures.
pub const BENCH_INIT: &str = "/bench";

/// What dom0's first process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Test,
    Run,
    Shell,
    /// Measure: one vCPU, and a clock that counts instructions.
    Bench,
    /// Measure what several vCPUs do at once. The clock counts the instructions of all.
    Scaling,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Test => "test",
            Mode::Run => "run",
            Mode::Shell => "shell",
            Mode::Bench | Mode::Scaling => "bench",
        }
    }

    fn measures(self) -> bool {
        matches!(self, Mode::Bench | Mode::Scaling)
    }
}

/// One boot of a machine.
pub struct Boot<'a> {
    pub lane: Lane,
    pub vmlinuz: PathBuf,
    pub image: PathBuf,
    /// How Xen runs the system. Without it there is no Xen.
    pub dom0: Option<Dom0>,
    pub drivers: Drivers,
    pub mode: Mode,
    pub filter: Option<&'a str>,
    /// Tests may take minutes each.
    pub long: bool,
    /// Which programs made by chance are run, if that is chosen.
    pub programs: Option<Programs>,
    /// The image is the clients': see [`crate::clients`].
    pub clients: bool,
}

/// Programs made by chance: see the guest's suite `fuzz`.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    pub seconds: u64,
    /// The name of the first.
    pub first: Option<String>,
    /// The name of the only one.
    pub only: Option<String>,
    /// The part of that one to begin with, where shorter ones are looked for.
    pub shrink: Option<String>,
    /// How often each of those runs.
    pub times: Option<u64>,
    /// Whether to say each call before it is made.
    pub trace: bool,
}

impl Programs {
    /// The names that the user has chosen.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.first.iter().chain(&self.only).map(String::as_str)
    }

    /// What the guest is told.
    fn words(&self) -> String {
        let mut words = format!(" xen_rust.seconds={}", self.seconds);
        if let Some(first) = &self.first {
            words.push_str(&format!(" xen_rust.seed={first}"));
        }
        if let Some(only) = &self.only {
            words.push_str(&format!(" xen_rust.program={only}"));
        }
        if let Some(part) = &self.shrink {
            words.push_str(&format!(" xen_rust.shrink={part}"));
        }
        if let Some(times) = self.times {
            words.push_str(&format!(" xen_rust.times={times}"));
        }
        if self.trace {
            words.push_str(" xen_rust.trace=1");
        }
        words
    }
}

impl Boot<'_> {
    /// Boots the machine and reads its console to the end. Each line goes to `log` and to `each`,
    /// with a test's result if it is one.
    pub fn watch(
        &self,
        project: &Project<'_>,
        log: &Path,
        each: impl FnMut(&str, Option<(Outcome, String)>),
    ) -> Result<Verdict> {
        let slowness = self.lane.slowness();
        let (mut silence, limit) = match self.mode {
            Mode::Bench | Mode::Scaling => (BENCH_SILENCE, BENCH_LIMIT),
            _ if self.long || self.clients => (LONG_SILENCE * slowness, LONG_LIMIT * slowness),
            _ => (SILENCE * slowness, LIMIT * slowness),
        };
        if self.programs.is_some() {
            silence = silence.min(PROGRAMS_SILENCE * slowness);
        }
        let seconds = self
            .programs
            .as_ref()
            .map_or(0, |programs| programs.seconds);
        let limit = limit + Duration::from_secs(seconds);
        watch(self.command(project, "stdio")?, log, silence, limit, each)
    }

    /// Boots the machine with its console on the terminal.
    pub fn interact(&self, project: &Project<'_>) -> Result<()> {
        // "mon:" is what makes Ctrl-A X leave.
        let status = self
            .command(project, "mon:stdio")?
            .status()
            .context("starting QEMU")?;
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(())
    }

    fn command(&self, project: &Project<'_>, serial: &str) -> Result<Command> {
        let mut qemu = project
            .tools
            .command("qemu-system-x86_64", &project.places.repo);
        let (memory, dom0_memory, vcpus) = match self.mode {
            Mode::Bench => (BENCH_MACHINE_MEMORY, BENCH_DOM0_MEMORY, 1),
            Mode::Scaling => (BENCH_MACHINE_MEMORY, BENCH_DOM0_MEMORY, SCALING_PROCESSORS),
            _ if self.clients => {
                let dom0_memory = self.lane.dom0_memory().max(CLIENTS_DOM0_MEMORY);
                (dom0_memory + CLIENTS_OTHER_MEMORY, dom0_memory, 2)
            }
            _ => {
                let dom0_memory = self.lane.dom0_memory();
                (dom0_memory + OTHER_MEMORY, dom0_memory, 2)
            }
        };
        qemu.args(["-machine", "q35"]);
        // The processor has what Xen needs for HVM and PVH guests, and a source of randomness,
        // without which xl waits for seconds.
        if self.mode.measures() {
            // Virtual time is two nanoseconds an instruction, and leaps over idleness.
            qemu.args([
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=1,sleep=off",
            ]);
            qemu.args(["-cpu", "qemu64,+svm,+npt,+rdrand,+fsgsbase"]);
            qemu.args(["-smp", &vcpus.to_string()]);
        } else {
            processors(&mut qemu, vcpus, memory);
        }
        qemu.args(["-m", &memory.to_string()]);
        peripherals(&mut qemu, serial);
        let mut xen_line = xen_line(dom0_memory, vcpus);
        if !self.mode.measures() {
            xen_line.push_str(DOM0_NODE);
        }
        if self.dom0 == Some(Dom0::Pvh) {
            pvh(&mut qemu, &mut xen_line);
        }
        let mut dom0_line = format!(
            "console={} rdinit={} panic=-1 xen_rust.mode={} xen_rust.drivers={}{}",
            self.dom0.map_or("ttyS0", |_| "hvc0"),
            if self.mode.measures() {
                BENCH_INIT
            } else {
                "/init"
            },
            self.mode.name(),
            self.drivers.name(),
            self.lane.command_line()
        );
        if self.mode.measures() {
            // Addresses the same at each boot; events at full rate, which are else held back when
            // they come in a loop. The kernel's own balloon clears pages where it has its interface,
            // which this one has not.
            dom0_line.push_str(
                " nokaslr norandmaps kunit.enable=0 xen.event_eoi_delay=0 xen_scrub_pages=1",
            );
        } else {
            dom0_line.push_str(CLOCK);
        }
        if self.mode == Mode::Scaling {
            xen_line.push_str(" dom0_vcpus_pin");
            dom0_line.push_str(&format!(" xen_rust.processors={SCALING_PROCESSORS}"));
        }
        if self.clients {
            dom0_line.push_str(" xen_rust.clients=1");
        }
        if self.long {
            dom0_line.push_str(" xen_rust.long=1");
        }
        if self.lane.slowness() != 1 {
            dom0_line.push_str(&format!(" xen_rust.slowness={}", self.lane.slowness()));
        }
        if let Some(programs) = &self.programs {
            // A kernel that has failed is of no more use: the sooner it ends the better.
            dom0_line.push_str(" oops=panic");
            dom0_line.push_str(&programs.words());
        }
        if let Some(filter) = self.filter {
            if filter.contains(char::is_whitespace) {
                bail!("a filter is one word: {filter:?}");
            }
            dom0_line.push_str(&format!(" xen_rust.filter={filter}"));
        }
        if self.dom0.is_none() {
            qemu.arg("-kernel").arg(&self.vmlinuz);
            qemu.arg("-initrd").arg(&self.image);
            qemu.arg("-append").arg(dom0_line);
            return Ok(qemu);
        }
        let xen = unpack_xen(
            project,
            &project.tools.file(&format!("/boot/xen-{XEN}-amd64.gz")),
            &project.places.build().join("xen"),
        )?;
        loads(
            &mut qemu,
            &xen,
            &xen_line,
            &self.vmlinuz,
            &dom0_line,
            &self.image,
        );
        Ok(qemu)
    }
}

/// A machine that boots from a disk: two vCPUs for dom0, and Linux as an installation has it.
pub struct Installed<'a> {
    /// Megabytes, of the machine and of dom0.
    pub memory: u32,
    pub dom0_memory: u32,
    pub dom0: Dom0,
    pub xen: &'a Path,
    pub vmlinuz: &'a Path,
    pub initrd: &'a Path,
    pub disk: &'a Path,
    /// What Linux is told, beyond what this machine needs.
    pub line: &'a str,
}

impl Installed<'_> {
    pub fn command(&self, project: &Project<'_>) -> Command {
        let vcpus = 2;
        let mut qemu = project
            .tools
            .command("qemu-system-x86_64", &project.places.repo);
        // Debian loads a driver for everything there is.
        qemu.args(["-machine", "q35", "-nodefaults"]);
        processors(&mut qemu, vcpus, self.memory);
        qemu.args(["-m", &self.memory.to_string()]);
        peripherals(&mut qemu, "stdio");
        // What is lost when the host fails is made anew.
        let disk = comma(&self.disk.display().to_string());
        qemu.arg("-drive").arg(format!(
            "file={disk},format=raw,if=none,id=disk,cache=unsafe"
        ));
        qemu.args(["-device", "ide-hd,drive=disk"]);
        let mut xen_line = xen_line(self.dom0_memory, vcpus) + DOM0_NODE;
        if self.dom0 == Dom0::Pvh {
            pvh(&mut qemu, &mut xen_line);
        }
        let line = format!(
            "root=/dev/sda rootfstype=ext4 ro console=hvc0 panic=-1{CLOCK} {}",
            self.line
        );
        loads(
            &mut qemu,
            self.xen,
            &xen_line,
            self.vmlinuz,
            &line,
            self.initrd,
        );
        qemu
    }
}

/// The processors and their memory, for dom0 to have `vcpus` of its own.
fn processors(qemu: &mut Command, vcpus: u32, memory: u32) {
    qemu.args(["-accel", &format!("tcg,thread=multi,tb-size={TRANSLATED}")]);
    qemu.args(["-smp", &(vcpus + 1).to_string()]);
    // Two nodes, for Xen to tell the processors apart.
    for (node, processors, size) in [
        (0, "0", FIRST_NODE_MEMORY),
        (1, DOMAINS_PROCESSORS, memory - FIRST_NODE_MEMORY),
    ] {
        qemu.arg("-object")
            .arg(format!("memory-backend-ram,id=memory{node},size={size}M"));
        qemu.arg("-numa").arg(format!(
            "node,nodeid={node},cpus={processors},memdev=memory{node}"
        ));
    }
    qemu.args(["-cpu", "qemu64,+svm,+npt,+rdrand,+fsgsbase,+smap,+smep"]);
}

/// A serial line, and nothing else.
fn peripherals(qemu: &mut Command, serial: &str) {
    qemu.args(["-display", "none", "-no-reboot"]);
    qemu.args(["-monitor", "none", "-nic", "none", "-serial", serial]);
}

/// What Xen is told of itself and of dom0.
fn xen_line(dom0_memory: u32, vcpus: u32) -> String {
    format!(
        "console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=warning \
         dom0_mem={dom0_memory}M,max:{dom0_memory}M dom0_max_vcpus={vcpus}"
    )
}

/// Makes dom0 a PVH one.
fn pvh(qemu: &mut Command, xen_line: &mut String) {
    xen_line.push_str(" dom0=pvh iommu=1");
    qemu.args(["-device", "amd-iommu"]);
}

/// What is loaded: Xen with its line, and as its modules Linux with its own and an initramfs.
fn loads(
    qemu: &mut Command,
    xen: &Path,
    xen_line: &str,
    vmlinuz: &Path,
    line: &str,
    initrd: &Path,
) {
    qemu.arg("-kernel").arg(xen).arg("-append").arg(xen_line);
    qemu.arg("-initrd").arg(format!(
        "{} {},{}",
        comma(&vmlinuz.display().to_string()),
        comma(line),
        comma(&initrd.display().to_string())
    ));
}

/// In a list of QEMU's, a comma that is meant is doubled.
fn comma(text: &str) -> String {
    text.replace(',', ",,")
}

/// Runs a QEMU and reads its console to the end. Each line goes to `log` and to `each`, with a test's
/// result if it is one.
pub fn watch(
    mut command: Command,
    log: &Path,
    silence: Duration,
    limit: Duration,
    mut each: impl FnMut(&str, Option<(Outcome, String)>),
) -> Result<Verdict> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut log = File::create(log).with_context(|| format!("making {}", log.display()))?;
    let (mut ours, theirs) = UnixStream::pair().context("making a pipe")?;
    let theirs = OwnedFd::from(theirs);
    ours.set_read_timeout(Some(Duration::from_secs(1)))?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(theirs.try_clone()?))
        .stderr(Stdio::from(theirs));
    let mut qemu = command.spawn().context("starting QEMU")?;
    // Our copies of its ends would keep the pipe open after its end.
    drop(command);

    let mut console = Console::default();
    let (start, mut heard) = (Instant::now(), Instant::now());
    let mut stopped = None;
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match ours.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                heard = Instant::now();
                log.write_all(&buffer[..count])
                    .context("writing the console's log")?;
                for byte in &buffer[..count] {
                    line.push(*byte);
                    if *byte == b'\n' {
                        let text = String::from_utf8_lossy(&line).into_owned();
                        let result = console.take(&text);
                        each(&text, result);
                        line.clear();
                    }
                }
            }
            Err(error)
                if [
                    ErrorKind::WouldBlock,
                    ErrorKind::TimedOut,
                    ErrorKind::Interrupted,
                ]
                .contains(&error.kind()) => {}
            Err(error) => return Err(error).context("reading the console"),
        }
        if heard.elapsed() > silence {
            stopped = Some(format!("no output for {} s", silence.as_secs()));
        } else if start.elapsed() > limit {
            stopped = Some(format!("not at its end after {} s", limit.as_secs()));
        }
        if stopped.is_some() {
            qemu.kill().context("ending QEMU")?;
            break;
        }
    }
    qemu.wait().context("waiting for QEMU")?;
    if !line.is_empty() {
        let text = String::from_utf8_lossy(&line).into_owned();
        let result = console.take(&text);
        each(&text, result);
    }
    Ok(console.judge(stopped))
}

/// Xen as QEMU wants it, which does not unpack.
pub fn unpack_xen(project: &Project<'_>, packed: &Path, unpacked: &Path) -> Result<PathBuf> {
    let mut gzip = project.tools.command("gzip", &project.places.repo);
    gzip.arg("-dc")
        .stdin(File::open(packed).context("opening Debian's Xen")?);
    let bytes = gzip.output().context("starting gzip")?;
    if !bytes.status.success() {
        bail!("{} does not unpack", packed.display());
    }
    place::write(unpacked, bytes.stdout)?;
    Ok(unpacked.to_owned())
}
