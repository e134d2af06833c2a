// SPDX-License-Identifier: GPL-2.0

//! Interrupts on several CPUs post, processes take: every order of their accesses.

#![cfg(loom)]

use loom::{
    sync::{
        atomic::{fence, AtomicBool, AtomicU32, Ordering},
        Arc, Mutex,
    },
    thread,
};
use xen_host_tests::evtchn_ring::{Fifo, Inbox, Node, Nodes, Posted};

struct Ports(Vec<Node>);

impl Nodes for Ports {
    fn node(&self, index: u32) -> Option<&Node> {
        self.0.get(index as usize)
    }
}

/// A file with some ports.
struct File {
    ports: Ports,
    inbox: Inbox,
    fifo: Mutex<Fifo>,
    /// What each port's other end has written.
    data: Vec<AtomicU32>,
}

impl File {
    fn new(ports: usize) -> Arc<Self> {
        Arc::new(Self {
            ports: Ports((0..ports as u32).map(Node::new).collect()),
            inbox: Inbox::new(),
            fifo: Mutex::new(Fifo::new()),
            data: (0..ports).map(|_| AtomicU32::new(0)).collect(),
        })
    }

    /// An event comes.
    fn interrupt(&self, index: u32) -> Posted {
        let data = &self.data[index as usize];
        data.store(data.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.inbox.post(index, &self.ports.0[index as usize])
    }

    /// Takes up to `N` ports at once, and says what their other ends have written by then.
    ///
    /// As a read does it: the only one if there is just one, else what there is.
    fn take_some<const N: usize>(&self) -> Vec<(u32, u32)> {
        let (mut names, mut indices) = ([0; N], [0; N]);
        let count = {
            let mut fifo = self.fifo.lock().unwrap();
            match fifo.take_single(&self.inbox, &self.ports) {
                Some((name, _)) => {
                    names[0] = name;
                    1
                }
                None => fifo.take(&self.inbox, &self.ports, &mut names, &mut indices),
            }
        };
        names[..count]
            .iter()
            .map(|&name| (name, self.data[name as usize].load(Ordering::Relaxed)))
            .collect()
    }

    /// Takes one port.
    fn take(&self) -> Option<(u32, u32)> {
        self.take_some::<1>().pop()
    }
}

/// Two interrupts and a reader: each port is taken once, and none is left.
#[test]
fn each_is_taken_once() {
    loom::model(|| {
        let file = File::new(2);
        let interrupts: Vec<_> = (0..2)
            .map(|index| {
                let file = file.clone();
                thread::spawn(move || file.interrupt(index))
            })
            .collect();
        let mut taken = Vec::new();
        taken.extend(file.take());
        let posted: Vec<_> = interrupts.into_iter().map(|t| t.join().unwrap()).collect();
        while let Some(one) = file.take() {
            taken.push(one);
        }
        taken.sort_unstable();
        assert_eq!(taken, [(0, 1), (1, 1)]);
        assert!(posted.contains(&Posted::First));
        assert!(!posted.contains(&Posted::Already));
        assert!(!file.inbox.is_pending());
    });
}

/// The same where the reader takes whatever there is at once.
#[test]
fn all_are_taken_at_once() {
    loom::model(|| {
        let file = File::new(2);
        let interrupts: Vec<_> = (0..2)
            .map(|index| {
                let file = file.clone();
                thread::spawn(move || file.interrupt(index))
            })
            .collect();
        let mut taken = file.take_some::<2>();
        interrupts.into_iter().for_each(|t| {
            t.join().unwrap();
        });
        taken.extend(file.take_some::<2>());
        taken.sort_unstable();
        assert_eq!(taken, [(0, 1), (1, 1)]);
        assert!(!file.inbox.is_pending());
    });
}

/// A port whose event comes again as soon as it was taken, before it is put back.
#[test]
fn what_is_put_back_comes_once() {
    loom::model(|| {
        let file = File::new(2);
        file.interrupt(0);
        file.interrupt(1);
        let interrupt = {
            let file = file.clone();
            thread::spawn(move || file.interrupt(0))
        };
        {
            let (mut names, mut indices) = ([0; 2], [0; 2]);
            let mut fifo = file.fifo.lock().unwrap();
            let count = fifo.take(&file.inbox, &file.ports, &mut names, &mut indices);
            assert_eq!(count, 2);
            fifo.put_back(&file.inbox, &file.ports, &indices);
        }
        assert!(file.inbox.is_pending());
        interrupt.join().unwrap();
        let mut taken = file.take_some::<2>();
        taken.sort_unstable();
        assert_eq!(taken, [(0, 2), (1, 1)]);
        assert!(!file.inbox.is_pending());
    });
}

/// An interrupt that finds its port pending leaves it to whoever takes that, who sees all of it.
#[test]
fn merged_events_are_seen() {
    loom::model(|| {
        let file = File::new(1);
        // There is something to take: loom does not try other orders of a mere look.
        file.interrupt(0);
        let interrupt = {
            let file = file.clone();
            thread::spawn(move || file.interrupt(0))
        };
        let mut last = file.take();
        let second = interrupt.join().unwrap();
        if let Some(more) = file.take() {
            last = Some(more);
        }
        // Merged or not, the last one taken has seen the last event.
        assert_eq!(last, Some((0, 2)), "the second was {second:?}");
        assert_eq!(file.take(), None);
    });
}

/// Two readers and an interrupt: one of them gets it.
#[test]
fn one_reader_gets_it() {
    loom::model(|| {
        let file = File::new(2);
        file.interrupt(0);
        let other = {
            let file = file.clone();
            thread::spawn(move || file.take())
        };
        let interrupt = {
            let file = file.clone();
            thread::spawn(move || file.interrupt(1))
        };
        let mut taken = Vec::new();
        taken.extend(file.take());
        interrupt.join().unwrap();
        taken.extend(other.join().unwrap());
        while let Some(one) = file.take() {
            taken.push(one);
        }
        taken.sort_unstable();
        assert_eq!(taken, [(0, 1), (1, 1)]);
    });
}

/// A port is unbound, after its interrupt is off, while another's interrupt posts.
#[test]
fn what_is_removed_does_not_come() {
    loom::model(|| {
        let file = File::new(2);
        file.interrupt(0);
        let interrupt = {
            let file = file.clone();
            thread::spawn(move || file.interrupt(1))
        };
        {
            let mut fifo = file.fifo.lock().unwrap();
            assert!(fifo.remove(0, &file.inbox, &file.ports));
        }
        interrupt.join().unwrap();
        assert_eq!(file.take(), Some((1, 1)));
        assert_eq!(file.take(), None);
        // The place can be used again.
        file.interrupt(0);
        assert_eq!(file.take(), Some((0, 2)));
    });
}

/// Whoever may wait, and whether it was woken: as the kernel's wait queues do it, with a fence on
/// both sides.
struct Sleeper {
    announced: AtomicBool,
    woken: AtomicBool,
}

impl Sleeper {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            announced: AtomicBool::new(false),
            woken: AtomicBool::new(false),
        })
    }

    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.announced.load(Ordering::Relaxed) {
            self.woken.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it goes to sleep.
    fn sleeps(&self, file: &File) -> bool {
        self.announced.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        !file.inbox.is_pending()
    }
}

/// Who sleeps is woken.
#[test]
fn sleeper_is_woken() {
    loom::model(|| {
        let file = File::new(2);
        let sleeper = Sleeper::new();
        let interrupts: Vec<_> = (0..2)
            .map(|index| {
                let (file, sleeper) = (file.clone(), sleeper.clone());
                thread::spawn(move || {
                    if file.interrupt(index) == Posted::First {
                        sleeper.wake();
                    }
                })
            })
            .collect();

        let slept = sleeper.sleeps(&file);
        for interrupt in interrupts {
            interrupt.join().unwrap();
        }
        assert!(!slept || sleeper.woken.load(Ordering::Relaxed));
    });
}

/// What a reader has no room for is not overlooked while it is moved to the list.
#[test]
fn what_is_left_is_not_overlooked() {
    loom::model(|| {
        let file = File::new(2);
        file.interrupt(0);
        file.interrupt(1);
        let sleeper = Sleeper::new();
        let other = {
            let (file, sleeper) = (file.clone(), sleeper.clone());
            thread::spawn(move || sleeper.sleeps(&file))
        };
        assert_eq!(file.take(), Some((0, 1)));
        let slept = other.join().unwrap();
        assert!(!slept);
        assert!(file.inbox.is_pending());
    });
}

/// Who looks while entries are out that are then put back is woken.
#[test]
fn what_is_put_back_wakes() {
    loom::model(|| {
        let file = File::new(1);
        file.interrupt(0);
        let sleeper = Sleeper::new();
        let other = {
            let (file, sleeper) = (file.clone(), sleeper.clone());
            thread::spawn(move || sleeper.sleeps(&file))
        };
        let (mut names, mut indices) = ([0; 1], [0; 1]);
        {
            let mut fifo = file.fifo.lock().unwrap();
            fifo.take(&file.inbox, &file.ports, &mut names, &mut indices);
            fifo.put_back(&file.inbox, &file.ports, &indices);
        }
        sleeper.wake();
        let slept = other.join().unwrap();
        assert!(!slept || sleeper.woken.load(Ordering::Relaxed));
        assert_eq!(file.take(), Some((0, 1)));
    });
}
