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
            ports: Ports((0..ports).map(|_| Node::new()).collect()),
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

    /// Takes one port, and says what its other end has written by then.
    fn take(&self) -> Option<(u32, u32)> {
        let index = {
            let mut fifo = self.fifo.lock().unwrap();
            fifo.collect(&self.inbox, &self.ports);
            fifo.pop(&self.ports)?
        };
        Some((index, self.data[index as usize].load(Ordering::Relaxed)))
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
        assert!(file.inbox.is_empty());
    });
}

/// An interrupt that finds its port pending leaves it to whoever takes that, who sees all of it.
#[test]
fn merged_events_are_seen() {
    loom::model(|| {
        let file = File::new(1);
        let interrupt = {
            let file = file.clone();
            thread::spawn(move || {
                file.interrupt(0);
                file.interrupt(0)
            })
        };
        let mut last = file.take();
        let second = interrupt.join().unwrap();
        if let Some(more) = file.take() {
            last = Some(more);
        }
        // Whatever was merged, the last one taken has seen the last event.
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
            fifo.collect(&file.inbox, &file.ports);
            assert!(fifo.remove(0, &file.ports));
        }
        interrupt.join().unwrap();
        assert_eq!(file.take(), Some((1, 1)));
        assert_eq!(file.take(), None);
        // The place can be used again.
        file.interrupt(0);
        assert_eq!(file.take(), Some((0, 2)));
    });
}

/// Who sleeps is woken: as the kernel's wait queues do it, with a fence on both sides.
#[test]
fn sleeper_is_woken() {
    loom::model(|| {
        let file = File::new(2);
        let sleeping = Arc::new(AtomicBool::new(false));
        let woken = Arc::new(AtomicBool::new(false));
        let interrupts: Vec<_> = (0..2)
            .map(|index| {
                let (file, sleeping, woken) = (file.clone(), sleeping.clone(), woken.clone());
                thread::spawn(move || {
                    if file.interrupt(index) == Posted::First {
                        fence(Ordering::SeqCst);
                        if sleeping.load(Ordering::Relaxed) {
                            woken.store(true, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();

        sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let slept = file.inbox.is_empty() && file.fifo.lock().unwrap().is_empty();
        for interrupt in interrupts {
            interrupt.join().unwrap();
        }
        assert!(!slept || woken.load(Ordering::Relaxed));
    });
}
