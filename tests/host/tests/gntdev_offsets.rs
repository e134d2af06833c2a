// SPDX-License-Identifier: GPL-2.0

//! Ranges of offsets are disjoint, found by any offset in them, and placed as low as they fit.

#![cfg(not(loom))]

use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use xen_host_tests::gntdev_offsets::{Arena, Found, InsertError, Node, OffsetSpace, END};

/// An arena with room for so many nodes.
struct Vector<N>(Vec<N>, usize);

impl<N> Arena<N> for Vector<N> {
    fn get(&self, index: u32) -> Option<&N> {
        self.0.get(index as usize)
    }
    fn get_mut(&mut self, index: u32) -> Option<&mut N> {
        self.0.get_mut(index as usize)
    }
    fn push(&mut self, node: N) -> Result<u32, N> {
        if self.0.len() == self.1 {
            return Err(node);
        }
        self.0.push(node);
        Ok(self.0.len() as u32 - 1)
    }
}

type Space = OffsetSpace<u32, Vector<Node<u32>>>;

fn space(room: usize) -> Space {
    OffsetSpace::new(Vector(Vec::new(), room))
}

/// What the tree is to do, done by hand.
fn lowest_gap(model: &BTreeMap<u64, (u64, u32)>, len: u64) -> Option<u64> {
    let mut at = 0;
    for (&start, &(taken, _)) in model {
        if start - at >= len {
            return Some(at);
        }
        at = start + taken;
    }
    (END - at >= len).then_some(at)
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u64),
    /// The n-th range, counted around.
    Remove(usize),
    RemoveUnknown(u64),
    Find(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u64..9).prop_map(Step::Insert),
        1 => prop_oneof![Just(0), Just(1 << 16), Just(END / 3), Just(END), Just(u64::MAX)]
            .prop_map(Step::Insert),
        5 => any::<usize>().prop_map(Step::Remove),
        1 => any::<u64>().prop_map(Step::RemoveUnknown),
        3 => (0u64..600).prop_map(Step::Find),
    ]
}

proptest! {
    #[test]
    fn as_by_hand(steps in proptest::collection::vec(step(), 0..400)) {
        let mut space = space(usize::MAX);
        let mut model = BTreeMap::<u64, (u64, u32)>::new();

        for (number, step) in steps.into_iter().enumerate() {
            let number = number as u32;
            match step {
                Step::Insert(len) => {
                    let expected = if len == 0 { None } else { lowest_gap(&model, len) };
                    match (space.insert(len, number), expected) {
                        (Ok(start), Some(expected)) => {
                            prop_assert_eq!(start, expected);
                            model.insert(start, (len, number));
                        }
                        (Err(refused), None) => {
                            prop_assert_eq!(refused, (InsertError::NoRoom, number));
                        }
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                Step::Remove(n) if !model.is_empty() => {
                    let start = *model.keys().nth(n % model.len()).unwrap();
                    let (_, value) = model.remove(&start).unwrap();
                    prop_assert_eq!(space.remove(start), Some(value));
                    prop_assert_eq!(space.remove(start), None);
                }
                Step::Remove(_) => {}
                Step::RemoveUnknown(start) => {
                    prop_assert_eq!(
                        space.remove(start),
                        model.remove(&start).map(|(_, value)| value)
                    );
                }
                Step::Find(offset) => {
                    let expected = model
                        .range(..=offset)
                        .next_back()
                        .filter(|(&start, &(len, _))| offset < start + len);
                    let expected = expected.map(|(&start, (len, value))| Found {
                        start, len: *len, value,
                    });
                    prop_assert_eq!(space.find(offset), expected);
                    let next = model.range(offset..).next();
                    prop_assert_eq!(
                        space.next_from(offset).map(|found| found.start),
                        next.map(|(&start, _)| start)
                    );
                }
            }
            prop_assert_eq!(space.len(), model.len());
        }
        for (start, (len, value)) in model {
            for offset in [start, start + len / 2, start + len - 1] {
                prop_assert_eq!(space.find(offset), Some(Found { start, len, value: &value }));
            }
            *space.value_mut(start).unwrap() = 77;
            prop_assert_eq!(space.remove(start), Some(77));
        }
        prop_assert!(space.is_empty());
        prop_assert_eq!(space.insert(END, 1), Ok(0));
    }

    /// Without memory for a node the value comes back, and nothing has changed.
    #[test]
    fn no_memory(room in 0usize..20, more in 1usize..5) {
        let mut space = space(room);
        for n in 0..room {
            prop_assert_eq!(space.insert(1, n as u32), Ok(n as u64));
        }
        for _ in 0..more {
            prop_assert_eq!(space.insert(1, 9), Err((InsertError::NoMemory, 9)));
            prop_assert_eq!(space.len(), room);
        }
        if room > 0 {
            prop_assert_eq!(space.remove(0), Some(0));
            prop_assert_eq!(space.insert(1, 5), Ok(0));
        }
    }
}

/// No offset is ever negative in bytes, however much is taken.
#[test]
fn never_negative() {
    let mut space = space(usize::MAX);
    let len = 1 << 40;
    let mut taken = 0;
    while let Ok(start) = space.insert(len, 0) {
        assert!(i64::try_from((start + len - 1) << 12).is_ok());
        taken += 1;
    }
    assert_eq!(taken, END / len);
    assert!(space.insert(1, 0).is_err());
}

/// Very many ranges, taken and freed in order, from both ends and from within.
#[test]
fn many() {
    let mut space = space(usize::MAX);
    let n = 1 << 16;
    for i in 0..n {
        assert_eq!(space.insert(1, i as u32), Ok(i));
    }
    for i in (0..n).step_by(2) {
        assert_eq!(space.remove(i), Some(i as u32));
    }
    assert_eq!(space.insert(2, 0), Ok(n));
    assert_eq!(space.insert(1, 0), Ok(0));
    for i in (0..n / 2).rev().map(|i| 2 * i + 1) {
        assert_eq!(space.remove(i), Some(i as u32));
    }
    assert_eq!(space.len(), 2);
}

/// An arena that counts how often a node is looked at.
struct Counting(Vec<Node<u32>>, Rc<Cell<usize>>);

impl Counting {
    fn count(&self) {
        self.1.set(self.1.get() + 1);
    }
}

impl Arena<Node<u32>> for Counting {
    fn get(&self, index: u32) -> Option<&Node<u32>> {
        self.count();
        self.0.get(index as usize)
    }
    fn get_mut(&mut self, index: u32) -> Option<&mut Node<u32>> {
        self.count();
        self.0.get_mut(index as usize)
    }
    fn push(&mut self, node: Node<u32>) -> Result<u32, Node<u32>> {
        self.0.push(node);
        Ok(self.0.len() as u32 - 1)
    }
}

/// What it costs with `n` ranges to take one out and put one in, and to find one, at the most.
fn cost(n: u64) -> (usize, usize) {
    let looks = Rc::new(Cell::new(0));
    let mut space = OffsetSpace::new(Counting(Vec::new(), looks.clone()));
    for i in 0..n {
        assert!(space.insert(3, i as u32).is_ok());
    }
    let (mut change, mut find) = (0, 0);
    // A step that shares no factor with the number of ranges reaches all of them.
    for i in 0..n {
        let start = i * 7919 % n * 3;
        looks.set(0);
        assert!(space.find(start + 2).is_some());
        find = find.max(looks.replace(0));
        assert!(space.remove(start).is_some());
        assert_eq!(space.insert(3, 0), Ok(start));
        change = change.max(looks.get());
    }
    (change, find)
}

/// Sixteen times as many ranges cost four levels of the tree more, not sixteen times as much.
#[test]
fn cost_is_logarithmic() {
    let (few, many) = (cost(500), cost(8000));
    assert!(many.1 <= few.1 + 6, "find: {few:?} {many:?}");
    assert!(many.0 * 2 <= few.0 * 3, "change: {few:?} {many:?}");
}
