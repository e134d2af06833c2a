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

/// What the port at an index is called.
fn name(index: u32) -> u32 {
    1000 + index
}

#[derive(Clone, Debug)]
enum Step {
    Post(u32),
    Collect,
    Pop,
    TakeSingle,
    /// So many at once.
    Take(usize),
    /// And put back, after these were posted again.
    PutBack(usize, Vec<u32>),
    Remove(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let some = || 0..NODES as usize + 2;
    prop_oneof![
        6 => (0..NODES).prop_map(Step::Post),
        1 => Just(Step::Collect),
        1 => Just(Step::Pop),
        2 => Just(Step::TakeSingle),
        3 => some().prop_map(Step::Take),
        2 => (some(), proptest::collection::vec(0..NODES, 0..3))
            .prop_map(|(most, again)| Step::PutBack(most, again)),
        2 => (0..NODES).prop_map(Step::Remove),
    ]
}

/// The queue as one would write it: what is collected, and what is not yet.
#[derive(Default)]
struct Model {
    old: VecDeque<u32>,
    new: VecDeque<u32>,
}

impl Model {
    fn post(&mut self, index: u32) -> Posted {
        if self.old.contains(&index) || self.new.contains(&index) {
            return Posted::Already;
        }
        self.new.push_back(index);
        if self.new.len() == 1 {
            Posted::First
        } else {
            Posted::Behind
        }
    }

    fn collect(&mut self) {
        self.old.append(&mut self.new);
    }

    fn take(&mut self, most: usize) -> Vec<u32> {
        self.collect();
        self.old.drain(..most.min(self.old.len())).collect()
    }
}

proptest! {
    #[test]
    fn is_a_queue_without_duplicates(steps in proptest::collection::vec(step(), 0..200)) {
        let nodes = Ports((0..NODES).map(|index| Node::new(name(index))).collect());
        let inbox = Inbox::new();
        let mut fifo = Fifo::new();
        let mut model = Model::default();
        let post = |index: u32| inbox.post(index, &nodes.0[index as usize]);
        let take = |fifo: &mut Fifo, most: usize| {
            let (mut names, mut indices) = (vec![0; most], vec![0; most]);
            let count = fifo.take(&inbox, &nodes, &mut names, &mut indices);
            indices.truncate(count);
            names.truncate(count);
            assert!(names.iter().eq(indices.iter().map(|&index| name(index)).collect::<Vec<_>>().iter()));
            indices
        };

        for step in steps {
            match step {
                Step::Post(index) => prop_assert_eq!(post(index), model.post(index)),
                Step::Collect => {
                    fifo.collect(&inbox, &nodes);
                    model.collect();
                }
                Step::Pop => prop_assert_eq!(fifo.pop(&inbox, &nodes), model.old.pop_front()),
                Step::TakeSingle => {
                    let taken = fifo.take_single(&inbox, &nodes);
                    let expected = if model.old.is_empty() && model.new.len() == 1 {
                        model.new.pop_front()
                    } else {
                        None
                    };
                    prop_assert_eq!(taken, expected.map(|index| (name(index), index)));
                }
                Step::Take(most) => prop_assert_eq!(take(&mut fifo, most), model.take(most)),
                Step::PutBack(most, again) => {
                    let taken = take(&mut fifo, most);
                    prop_assert_eq!(&taken, &model.take(most));
                    for index in again {
                        prop_assert_eq!(post(index), model.post(index));
                    }
                    fifo.put_back(&inbox, &nodes, &taken);
                    for &index in taken.iter().rev() {
                        if !model.new.contains(&index) {
                            model.old.push_front(index);
                        }
                    }
                }
                Step::Remove(index) => {
                    let before = model.old.len() + model.new.len();
                    model.old.retain(|&pending| pending != index);
                    model.new.retain(|&pending| pending != index);
                    let removed = model.old.len() + model.new.len() < before;
                    if removed {
                        model.collect();
                    }
                    prop_assert_eq!(fifo.remove(index, &inbox, &nodes), removed);
                }
            }
            prop_assert_eq!(inbox.is_pending(), !model.old.is_empty() || !model.new.is_empty());
            prop_assert_eq!(fifo.is_empty(), model.old.is_empty());
            prop_assert_eq!(fifo.len() as usize, model.old.len());
            prop_assert!(fifo.len() <= NODES);
            for (index, node) in nodes.0.iter().enumerate() {
                let index = index as u32;
                let pending = model.old.contains(&index) || model.new.contains(&index);
                prop_assert_eq!(node.is_queued(), pending);
            }
        }
        prop_assert_eq!(take(&mut fifo, NODES as usize), model.take(NODES as usize));
    }
}
