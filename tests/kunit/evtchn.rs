// SPDX-License-Identifier: GPL-2.0

//! What is pending on a file of `/dev/xen/evtchn`, and whose a port number is.

use kernel::prelude::*;
use xen::atomics;

#[allow(dead_code, unreachable_pub)]
#[path = "../../drivers/xen/evtchn/ring.rs"]
mod ring;
#[allow(dead_code, unreachable_pub)]
#[path = "../../drivers/xen/evtchn/slot.rs"]
mod slot;

#[kunit_tests(xen_evtchn_ring)]
mod ring_tests {
    use super::ring::{
        Fifo,
        Inbox,
        Node,
        Nodes,
        Posted, //
    };

    struct Ports([Node; 4]);

    impl Ports {
        fn new() -> Self {
            Self([Node::new(10), Node::new(11), Node::new(12), Node::new(13)])
        }

        fn post(&self, inbox: &Inbox, index: u32) -> Option<Posted> {
            Some(inbox.post(index, self.node(index)?))
        }
    }

    impl Nodes for Ports {
        fn node(&self, index: u32) -> Option<&Node> {
            self.0.get(index as usize)
        }
    }

    /// Takes up to as many as there are places: their names, and zeroes.
    fn take<const N: usize>(fifo: &mut Fifo, inbox: &Inbox, ports: &Ports) -> [u32; N] {
        let (mut names, mut indices) = ([0; N], [0; N]);
        fifo.take(inbox, ports, &mut names, &mut indices);
        names
    }

    #[test]
    fn oldest_comes_first() {
        let (ports, inbox, mut fifo) = (Ports::new(), Inbox::new(), Fifo::new());
        assert!(ports.post(&inbox, 2) == Some(Posted::First));
        assert!(ports.post(&inbox, 0) == Some(Posted::Behind));
        assert!(take::<4>(&mut fifo, &inbox, &ports) == [12, 10, 0, 0]);
        assert!(!inbox.is_pending());
        assert!(ports.post(&inbox, 1) == Some(Posted::First));
        assert!(ports.post(&inbox, 3) == Some(Posted::Behind));
        assert!(ports.post(&inbox, 0) == Some(Posted::Behind));
        assert!(take::<1>(&mut fifo, &inbox, &ports) == [11]);
        assert!(ports.post(&inbox, 2) == Some(Posted::First));
        assert!(take::<2>(&mut fifo, &inbox, &ports) == [13, 10]);
        assert!(inbox.is_pending());
        assert!(take::<2>(&mut fifo, &inbox, &ports) == [12, 0]);
        assert!(!inbox.is_pending());
    }

    #[test]
    fn a_single_one_is_taken_alone() {
        let (ports, inbox, mut fifo) = (Ports::new(), Inbox::new(), Fifo::new());
        assert!(fifo.take_single(&inbox, &ports).is_none());
        ports.post(&inbox, 3);
        assert!(fifo.take_single(&inbox, &ports) == Some((13, 3)));
        assert!(!inbox.is_pending());
        ports.post(&inbox, 3);
        ports.post(&inbox, 0);
        assert!(fifo.take_single(&inbox, &ports).is_none());
        fifo.collect(&inbox, &ports);
        assert!(fifo.pop(&inbox, &ports) == Some(3));
        assert!(fifo.take_single(&inbox, &ports).is_none());
        assert!(fifo.len() == 1);
    }

    #[test]
    fn put_back_comes_again() {
        let (ports, inbox, mut fifo) = (Ports::new(), Inbox::new(), Fifo::new());
        ports.post(&inbox, 1);
        ports.post(&inbox, 2);
        assert!(take::<4>(&mut fifo, &inbox, &ports) == [11, 12, 0, 0]);
        assert!(ports.post(&inbox, 3) == Some(Posted::First));
        assert!(ports.post(&inbox, 2) == Some(Posted::Behind));
        fifo.put_back(&inbox, &ports, &[1, 2]);
        assert!(ports.post(&inbox, 1) == Some(Posted::Already));
        assert!(take::<4>(&mut fifo, &inbox, &ports) == [11, 13, 12, 0]);
        assert!(fifo.is_empty() && !inbox.is_pending());
    }

    #[test]
    fn one_entry_for_each_port() {
        let (ports, inbox, mut fifo) = (Ports::new(), Inbox::new(), Fifo::new());
        assert!(ports.post(&inbox, 1) == Some(Posted::First));
        assert!(ports.post(&inbox, 1) == Some(Posted::Already));
        fifo.collect(&inbox, &ports);
        assert!(ports.post(&inbox, 1) == Some(Posted::Already));
        assert!(fifo.len() == 1);
        assert!(fifo.pop(&inbox, &ports) == Some(1));
        assert!(fifo.is_empty() && !inbox.is_pending());
        assert!(ports.post(&inbox, 1) == Some(Posted::First));
    }

    #[test]
    fn removed_does_not_come() {
        let (ports, inbox, mut fifo) = (Ports::new(), Inbox::new(), Fifo::new());
        for index in 0..4 {
            ports.post(&inbox, index);
        }
        assert!(fifo.remove(3, &inbox, &ports));
        assert!(fifo.remove(1, &inbox, &ports));
        assert!(!fifo.remove(1, &inbox, &ports));
        assert!(fifo.remove(0, &inbox, &ports));
        ports.post(&inbox, 1);
        assert!(take::<4>(&mut fifo, &inbox, &ports) == [12, 11, 0, 0]);
    }
}

#[kunit_tests(xen_evtchn_slot)]
mod slot_tests {
    use super::slot::{
        FileId,
        Owner,
        Slot, //
    };
    use kernel::prelude::*;

    #[test]
    fn lets_its_owner_in() -> Result {
        let (one, two) = (FileId::new(1).ok_or(EINVAL)?, FileId::new(2).ok_or(EINVAL)?);
        let slot = Slot::new();
        assert!(slot.owner().is_none());
        slot.publish(Owner::new(one, 77).ok_or(EINVAL)?);
        assert!(slot.enter(two).is_none());
        let inside = slot.enter(one);
        assert!(inside.as_ref().is_some_and(|inside| inside.index() == 77));
        slot.withdraw();
        assert!(!slot.is_idle());
        assert!(slot.enter(one).is_none());
        drop(inside);
        assert!(slot.is_idle());
        Ok(())
    }

    #[test]
    fn numbers_have_bounds() {
        assert!(FileId::new(0).is_none());
        assert!(FileId::new(1 << 24).is_none());
        assert!(FileId::new((1 << 24) - 1).is_some_and(|id| Owner::new(id, 1 << 18).is_none()));
    }
}
