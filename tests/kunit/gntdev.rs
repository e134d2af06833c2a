// SPDX-License-Identifier: GPL-2.0

//! The offsets of a gntdev file, the life of a grant mapping, and the segments of a copy.

use kernel::prelude::*;

#[allow(dead_code, unreachable_pub)]
#[path = "../../drivers/xen/gntdev/offsets.rs"]
mod offsets;
#[allow(dead_code, unreachable_pub)]
#[path = "../../drivers/xen/gntdev/segment.rs"]
mod segment;

#[kunit_tests(xen_gntdev_offsets)]
mod offset_tests {
    use super::offsets::{
        Arena,
        InsertError,
        Node,
        OffsetSpace,
        END, //
    };
    use kernel::prelude::*;

    struct Nodes(KVVec<Node<u32>>);

    impl Arena<Node<u32>> for Nodes {
        fn get(&self, index: u32) -> Option<&Node<u32>> {
            self.0.get(index as usize)
        }

        fn get_mut(&mut self, index: u32) -> Option<&mut Node<u32>> {
            self.0.get_mut(index as usize)
        }

        fn push(&mut self, node: Node<u32>) -> core::result::Result<u32, Node<u32>> {
            let index = self.0.len() as u32;
            if self.0.reserve(1, GFP_KERNEL).is_err() {
                return Err(node);
            }
            self.0
                .push_within_capacity(node)
                .map(|()| index)
                .map_err(|refused| refused.0)
        }
    }

    fn space() -> OffsetSpace<u32, Nodes> {
        OffsetSpace::new(Nodes(KVVec::new()))
    }

    #[test]
    fn first_is_at_zero() {
        assert!(space().insert(5, 0) == Ok(0));
    }

    #[test]
    fn found_by_any_offset() {
        let mut space = space();
        for n in 0..1000u32 {
            assert!(space.insert(3, n) == Ok(u64::from(n) * 3));
        }
        for offset in 0..3000 {
            let found = space.find(offset);
            assert!(found.is_some_and(|found| {
                found.start == offset / 3 * 3
                    && found.len == 3
                    && u64::from(*found.value) == offset / 3
            }));
        }
        assert!(space.find(3000).is_none());
    }

    #[test]
    fn freed_is_used_again() {
        let mut space = space();
        for n in 0..100u32 {
            assert!(space.insert(2, n) == Ok(u64::from(n) * 2));
        }
        assert!(space.remove(20) == Some(10));
        assert!(space.remove(22) == Some(11));
        assert!(space.remove(20).is_none());
        assert!(space.insert(5, 0) == Ok(200));
        assert!(space.insert(3, 0) == Ok(20));
        assert!(space.insert(1, 0) == Ok(23));
    }

    #[test]
    fn never_negative() {
        let mut space = space();
        assert!(space.insert(END - 1, 0) == Ok(0));
        assert!(space.insert(2, 7) == Err((InsertError::NoRoom, 7)));
        assert!(space.insert(1, 0) == Ok(END - 1));
        assert!(space.insert(1, 8) == Err((InsertError::NoRoom, 8)));
        assert!(space.insert(0, 9) == Err((InsertError::NoRoom, 9)));
    }

    /// Both orders make the tree lean as far as it may.
    #[test]
    fn emptied_in_any_order() {
        for step in [1u64, 7, 499] {
            let mut space = space();
            for n in 0..997u32 {
                assert!(space.insert(1, n).is_ok());
            }
            for n in 0..997u64 {
                let start = n * step % 997;
                assert!(space.remove(start) == Some(start as u32));
                assert!(space.find(start).is_none());
            }
            assert!(space.is_empty());
            assert!(space.insert(END, 0) == Ok(0));
        }
    }
}

#[kunit_tests(xen_grant_slot)]
mod slot_tests {
    use xen::grant::slot::{
        MappingHandle,
        Slot, //
    };

    #[derive(PartialEq, Eq)]
    struct Handle(u32);

    impl MappingHandle for Handle {
        type Released = ();
    }

    #[test]
    fn whole_life() {
        let mut slot = Slot::Free;
        assert!(slot.occupy(Handle(1)).is_ok());
        assert!(slot.occupy(Handle(2)) == Err(Handle(2)));
        assert!(slot.begin().is_none());
        assert!(slot.retire());
        assert!(!slot.retire());
        assert!(slot.begin() == Some(Handle(1)));
        // It is with Xen, hence nowhere else.
        assert!(slot.begin().is_none());
        assert!(!slot.retire());
        assert!(slot.occupy(Handle(3)).is_err());
        assert!(slot.settle(Ok(())));
        assert!(slot.is_free());
    }

    #[test]
    fn refusal_is_not_forgotten() {
        let mut slot = Slot::Free;
        assert!(slot.occupy(Handle(1)).is_ok());
        assert!(slot.retire());
        for _ in 0..3 {
            let handle = slot.begin();
            assert!(handle == Some(Handle(1)));
            if let Some(handle) = handle {
                assert!(!slot.settle(Err(handle)));
            }
            assert!(slot.is_retiring());
        }
    }

    #[test]
    fn free_slot_stays_free() {
        let mut slot: Slot<Handle> = Slot::Free;
        assert!(!slot.retire());
        assert!(slot.begin().is_none());
        assert!(slot.is_free());
    }
}

#[kunit_tests(xen_gntdev_segment)]
mod segment_tests {
    use super::segment::{
        Piece,
        Place,
        Segment, //
    };

    const LOCAL: u64 = 0x7000_0000_0ff0;

    fn grant(offset: u64) -> u64 {
        9 | (offset << 32) | (3 << 48)
    }

    fn rest(len: u64, flags: u64) -> u64 {
        len | (flags << 16)
    }

    #[test]
    fn needs_a_grant_within_its_page() {
        assert!(Segment::read([grant(0), LOCAL, rest(1, 0)]).is_none());
        assert!(Segment::read([grant(1), LOCAL, rest(4096, 1)]).is_none());
        assert!(Segment::read([LOCAL, grant(1), rest(4096, 2)]).is_none());
        assert!(Segment::read([grant(0), grant(1), rest(4096, 3)]).is_none());
        assert!(Segment::read([grant(0), grant(0), rest(4096, 3)]).is_some());
        assert!(Segment::read([grant(0xffff), LOCAL, rest(0xffff, 1)]).is_none());
    }

    #[test]
    fn cut_at_the_page() {
        let segment = Segment::read([grant(0), LOCAL, rest(4096, 1)]);
        assert!(segment.is_some_and(|segment| {
            let mut pieces = segment.pieces();
            segment.local() == Some((LOCAL, true))
                && segment.source
                    == Place::Grant {
                        domid: 3,
                        reference: 9,
                        offset: 0,
                    }
                && pieces.next() == Some(Piece { at: 0, len: 16 })
                && pieces.next() == Some(Piece { at: 16, len: 4080 })
                && pieces.next().is_none()
        }));
    }

    #[test]
    fn nothing_to_copy() {
        let segment = Segment::read([LOCAL, grant(4096), rest(0, 2)]);
        assert!(segment.is_some_and(|segment| segment.pieces().next().is_none()));
    }
}
