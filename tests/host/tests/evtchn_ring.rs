// SPDX-License-Identifier: GPL-2.0

//! The list of pending ports does what a queue without duplicates does.

#![cfg(not(loom))]

use proptest::prelude::*;
use std::collections::VecDeque;
use xen_host_tests::evtchn_ring::{Fifo, Inbox, Node, Nodes, Posted};

const NODES: u32 = 12;

/// Nodes at the indices 0 to [`NODES`].
struct Ports(Vec<Node>);

impl Nodes for Ports {
    fn node(&self, index: u32) -> Option<&Node> {
        self.0.get(index as usize)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Post(u32),
    Collect,
    Pop,
    Remove(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..NODES).prop_map(Step::Post),
        2 => Just(Step::Collect),
        3 => Just(Step::Pop),
        2 => (0..NODES).prop_map(Step::Remove),
    ]
}

proptest! {
    #[test]
    fn is_a_queue_without_duplicates(steps in proptest::collection::vec(step(), 0..200)) {
        let nodes = Ports((0..NODES).map(|_| Node::new()).collect());
        let inbox = Inbox::new();
        let mut fifo = Fifo::new();
        // What is collected, and what is not yet.
        let (mut old, mut new) = (VecDeque::new(), VecDeque::new());

        for step in steps {
            match step {
                Step::Post(index) => {
                    let expected = if old.contains(&index) || new.contains(&index) {
                        Posted::Already
                    } else if new.is_empty() {
                        new.push_back(index);
                        Posted::First
                    } else {
                        new.push_back(index);
                        Posted::Behind
                    };
                    prop_assert_eq!(inbox.post(index, &nodes.0[index as usize]), expected);
                }
                Step::Collect => {
                    fifo.collect(&inbox, &nodes);
                    old.append(&mut new);
                }
                Step::Pop => prop_assert_eq!(fifo.pop(&nodes), old.pop_front()),
                Step::Remove(index) => {
                    fifo.collect(&inbox, &nodes);
                    old.append(&mut new);
                    let before = old.len();
                    old.retain(|&pending| pending != index);
                    prop_assert_eq!(fifo.remove(index, &nodes), old.len() < before);
                }
            }
            prop_assert_eq!(inbox.is_empty(), new.is_empty());
            prop_assert_eq!(fifo.is_empty(), old.is_empty());
            prop_assert_eq!(fifo.len() as usize, old.len());
            prop_assert!(fifo.iter(&nodes).eq(old.iter().copied()));
            prop_assert!(fifo.len() <= NODES);
            for (index, node) in nodes.0.iter().enumerate() {
                let index = index as u32;
                prop_assert_eq!(node.is_queued(), old.contains(&index) || new.contains(&index));
            }
        }
    }
}
