// SPDX-License-Identifier: GPL-2.0

//! Guests that run, made and destroyed by xl.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::boot::{Drivers, Words};
use crate::sys;
use crate::xen::Kind;
use crate::xenstore::Xenstore;

const KERNEL: &str = "/guest/vmlinuz";
const INITRD: &str = "/guest/initrd";

/// The memory that a guest begins with, in MiB.
pub const MEMORY: u32 = 96;

/// Whether the image has what a guest needs.
pub fn available() -> bool {
    Path::new(KERNEL).exists() && Path::new(INITRD).exists()
}

/// A guest to be made.
#[derive(Debug)]
pub struct Guest {
    kind: Kind,
    name: String,
    /// What the kernel's command line has for it in particular.
    words: String,
    /// How much memory it may have at most, in MiB, if that is more than it begins with.
    maximum: u32,
    files: Vec<(String, Vec<u8>)>,
    /// Further lines of the configuration.
    lines: String,
}

impl Guest {
    /// A guest of a kind, named after it.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            name: format!("{kind:?}").to_lowercase(),
            words: String::new(),
            maximum: MEMORY,
            files: Vec::new(),
            lines: String::new(),
        }
    }

    /// A further line of the configuration, or one that wins over what it has anyway.
    pub fn line(mut self, line: &str) -> Self {
        self.lines += line;
        self.lines.push('\n');
        self
    }

    /// The guest uses these of our drivers, rather than the kernel's own.
    pub fn ours(mut self, modules: &[&str]) -> Self {
        self.words += &format!(" xen_rust.ours={}", modules.join(","));
        self
    }

    /// Files that the guest has, executable, all in one folder.
    pub fn files(mut self, folder: &str, files: Vec<(String, Vec<u8>)>) -> Self {
        self.files.push((folder.into(), Vec::new()));
        let inside = |(name, content)| (format!("{folder}/{name}"), content);
        self.files.extend(files.into_iter().map(inside));
        self
    }

    /// The guest may be given so much memory, in MiB.
    pub fn maximum(mut self, mib: u32) -> Self {
        self.maximum = mib;
        self
    }

    /// A name of the caller's choice.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// What the guest runs before it powers off; commas stand for spaces.
    pub fn command(mut self, command: &str) -> Self {
        self.words += &format!(" xen_rust.cmd={command}");
        self
    }

    /// Has the guest wait for xenstore, see [`crate::inside::wait_for_xenstore`].
    pub fn waiting(mut self) -> Self {
        self.words += " xen_rust.wait=1";
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the configuration file; gives its path.
    pub fn write_configuration(&self) -> std::io::Result<String> {
        let kind = match self.kind {
            Kind::Pv => "pv",
            Kind::Pvh => "pvh",
        };
        let drivers = match Words::read().drivers() {
            Drivers::Rust => "rust",
            Drivers::C => "c",
        };
        let initrd = self.write_initrd()?;
        let path = format!("/tmp/{}.cfg", self.name);
        fs::write(
            &path,
            format!(
                "name = \"{}\"\ntype = \"{kind}\"\nkernel = \"{KERNEL}\"\nramdisk = \"{initrd}\"\n\
                 extra = \"console=hvc0 quiet xen_rust.mode=domu xen_rust.drivers={drivers}{}\"\nmemory = {MEMORY}\nmaxmem = {}\nvcpus = 1\n\
                 on_crash = \"destroy\"\n{}",
                self.name, self.words, self.maximum, self.lines
            ),
        )?;
        Ok(path)
    }

    /// Writes the image, with the files that this guest has besides; gives its path.
    fn write_initrd(&self) -> std::io::Result<String> {
        if self.files.is_empty() {
            return Ok(INITRD.into());
        }
        // The kernel unpacks archives one after the other.
        let mut image = fs::read(INITRD)?;
        let mut entry = |name: &str, mode: u32, content: &[u8]| {
            image.resize(image.len().next_multiple_of(4), 0);
            let (size, name_size) = (content.len(), name.len() + 1);
            // Number, mode, owner, group, links, time, size, device and its own twice, name's size, checksum.
            let fields = format!(
                "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:032x}{name_size:08x}{:08x}",
                0, 0, 0, 1, 0, 0, 0
            );
            image.extend(fields.as_bytes());
            image.extend(name.as_bytes());
            image.push(0);
            image.resize(image.len().next_multiple_of(4), 0);
            image.extend(content);
        };
        for (name, content) in &self.files {
            let mode = if content.is_empty() {
                0o40755
            } else {
                0o100755
            };
            entry(name, mode, content);
        }
        entry("TRAILER!!!", 0, &[]);
        let path = self.own_initrd();
        fs::write(&path, image)?;
        Ok(path)
    }

    fn own_initrd(&self) -> String {
        format!("/tmp/{}.initrd", self.name)
    }

    /// Creates the guest and lets it run.
    pub fn create(&self) -> Result<Running, String> {
        self.made(&[])
    }

    /// Creates the guest, but does not let it run yet.
    pub fn create_paused(&self) -> Result<Running, String> {
        self.made(&["-p"])
    }

    /// Creates the guest, and leaves nobody behind to see to what is left when it ends.
    pub fn create_unguarded(&self) -> Result<Running, String> {
        self.made(&["-e"])
    }

    fn made(&self, options: &[&str]) -> Result<Running, String> {
        let path = self.write_configuration().map_err(|e| e.to_string())?;
        let created = xl(&[&["create"], options, &[&path]].concat());
        // Memory that is not needed any more, if it is there at all.
        let _ = fs::remove_file(self.own_initrd());
        created?;
        let id = domain_id(&self.name).ok_or("the guest has no number")?;
        Ok(Running {
            name: self.name.clone(),
            id,
        })
    }
}

/// A guest that runs; destroyed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    id: u16,
}

impl Running {
    /// One that something else than this program has made.
    pub fn found(name: &str) -> Result<Self, String> {
        let id = domain_id(name).ok_or("the guest has no number")?;
        Ok(Self {
            name: name.into(),
            id,
        })
    }

    /// Its number.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same guest under the number it has now, after it was restored.
    pub fn again(mut self) -> Result<Self, String> {
        self.id = domain_id(&self.name).ok_or("the guest has no number")?;
        Ok(self)
    }

    /// Connects to what runs inside.
    pub fn agent(&self) -> Result<Agent, String> {
        Agent::connect(self.id)
    }

    /// Destroys it and waits until it is gone.
    pub fn destroy(self) -> Result<(), String> {
        xl(&["destroy", &self.name])?;
        gone(&self.name)
            .then_some(())
            .ok_or_else(|| format!("{} does not go", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already, or have gone on under another number.
        let _ = xl(&["destroy", &self.name]);
    }
}

/// What a guest says on its console from now on, line by line.
#[derive(Debug)]
pub struct Console {
    lines: mpsc::Receiver<String>,
    client: std::process::Child,
}

impl Console {
    /// Attaches to a guest's console.
    pub fn of(name: &str) -> std::io::Result<Self> {
        // The client leaves when its input ends, so it gets one that does not.
        let mut client = Command::new("xl")
            .args(["console", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let out = client.stdout.take();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.into_iter().flat_map(|o| BufReader::new(o).split(b'\n')) {
                let Ok(line) = line else { return };
                if sender.send(String::from_utf8_lossy(&line).into()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { lines, client })
    }

    /// Waits for a line in which something is found.
    pub fn find<T>(&self, time: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(found) = find(&self.lines.recv_timeout(left).ok()?) {
                return Some(found);
            }
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// What runs inside a guest and does what it is told, see [`crate::agent`].
#[derive(Debug)]
pub struct Agent {
    store: Xenstore,
    root: String,
    number: u32,
}

impl Agent {
    fn connect(id: u16) -> Result<Self, String> {
        let mut store = Xenstore::open().map_err(|e| e.to_string())?;
        let root = format!("/local/domain/{id}/data");
        let ready = sys::in_the_end(Duration::from_secs(240), || {
            store.read(&format!("{root}/ready")).is_ok()
        });
        if !ready {
            return Err("the guest does not get ready".into());
        }
        let reply = store.read(&format!("{root}/reply")).unwrap_or_default();
        let number = reply
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        Ok(Self {
            store,
            root,
            number,
        })
    }

    /// Has the guest do something; gives what it said.
    pub fn call(&mut self, request: &str) -> Result<String, String> {
        self.begin(request)?;
        self.finish()
    }

    /// Has the guest begin something.
    pub fn begin(&mut self, request: &str) -> Result<(), String> {
        self.number += 1;
        let text = format!("{} {request}", self.number);
        self.store
            .write(&format!("{}/request", self.root), &text)
            .map_err(|e| e.to_string())
    }

    /// Waits until the guest has done it; gives what it said.
    pub fn finish(&mut self) -> Result<String, String> {
        let expected = format!("{} ", self.number);
        let mut answer = None;
        sys::eventually(Duration::from_secs(90), || {
            let reply = self
                .store
                .read(&format!("{}/reply", self.root))
                .unwrap_or_default();
            answer = reply.strip_prefix(&expected).map(str::to_owned);
            answer.is_some()
        });
        let answer = answer.ok_or("the guest does not answer")?;
        match answer.split_once(' ') {
            Some(("ok", said)) => Ok(said.to_owned()),
            _ => Err(format!("the guest said: {answer}")),
        }
    }
}

/// Runs a command and gives its output if it succeeded, and what it said if not.
pub fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    let out = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(out);
    }
    let err = String::from_utf8_lossy(&stderr);
    Err(format!(
        "{program} {}: {status}: {}{}",
        arguments.join(" "),
        out.trim(),
        err.trim()
    ))
}

/// Runs xl.
pub fn xl(arguments: &[&str]) -> Result<String, String> {
    output("xl", arguments)
}

/// The number of a domain that xl knows by name.
pub fn domain_id(name: &str) -> Option<u16> {
    xl(&["domid", name]).ok()?.trim().parse().ok()
}

/// Whether a guest disappears, its pages included.
pub fn gone(name: &str) -> bool {
    sys::in_the_end(Duration::from_secs(90), || {
        xl(&["list"]).is_ok_and(|text| {
            !text
                .lines()
                .any(|l| l.starts_with(name) || l.starts_with("(null)"))
        })
    })
}
