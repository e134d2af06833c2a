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
            Self([Node::new(), Node::new(), Node::new(), Node::new()])
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

    #[test]
    fn oldest_comes_first() {
        let (ports, inbox, mut fifo) = (Ports::new(), Inbox::new(), Fifo::new());
        assert!(ports.post(&inbox, 2) == Some(Posted::First));
        assert!(ports.post(&inbox, 0) == Some(Posted::Behind));
        fifo.collect(&inbox, &ports);
        assert!(ports.post(&inbox, 3) == Some(Posted::First));
        fifo.collect(&inbox, &ports);
        assert!(fifo.iter(&ports).eq([2, 0, 3]));
        assert!(fifo.len() == 3);
        assert!(fifo.pop(&ports) == Some(2));
        assert!(fifo.pop(&ports) == Some(0));
        assert!(fifo.pop(&ports) == Some(3));
        assert!(fifo.pop(&ports).is_none());
    }

    #[test]
    fn one_entry_for_each_port() {
        let (ports, inbox, mut fifo) = (Ports::new(), Inbox::new(), Fifo::new());
        assert!(ports.post(&inbox, 1) == Some(Posted::First));
        assert!(ports.post(&inbox, 1) == Some(Posted::Already));
        fifo.collect(&inbox, &ports);
        assert!(ports.post(&inbox, 1) == Some(Posted::Already));
        assert!(inbox.is_empty());
        assert!(fifo.pop(&ports) == Some(1));
        assert!(fifo.is_empty());
        assert!(ports.post(&inbox, 1) == Some(Posted::First));
    }

    #[test]
    fn removed_does_not_come() {
        let (ports, inbox, mut fifo) = (Ports::new(), Inbox::new(), Fifo::new());
        for index in 0..4 {
            ports.post(&inbox, index);
        }
        fifo.collect(&inbox, &ports);
        assert!(fifo.remove(3, &ports));
        assert!(fifo.remove(1, &ports));
        assert!(!fifo.remove(1, &ports));
        assert!(fifo.remove(0, &ports));
        assert!(fifo.iter(&ports).eq([2]));
        ports.post(&inbox, 1);
        fifo.collect(&inbox, &ports);
        assert!(fifo.iter(&ports).eq([2, 1]));
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
