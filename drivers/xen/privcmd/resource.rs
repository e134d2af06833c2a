// SPDX-License-Identifier: GPL-2.0

//! Frames that Xen keeps for a domain: `MMAP_RESOURCE`.

use crate::{
    file::Argument,
    ioctl, //
};
use core::mem::offset_of;
use kernel::prelude::*;
use xen::{
    ext::task::checkpoint,
    foreign::{
        Filling,
        Piece,
        LARGE,
        SMALL, //
    },
    range::{
        Fill,
        Pieces, //
    },
    resource::Resource,
    restriction::Authorised, //
};

/// `MMAP_RESOURCE`: fills a range, or tells how many frames there are.
///
/// # Errors
///
/// `EINVAL` unless the request is about just a range of ours, `EBUSY` when that has been filled; what Xen says of a frame that it refuses; `EFAULT`, `ENOMEM`, `EINTR`. Then
/// nothing is mapped.
pub(crate) fn map(
    right: Authorised<'_>,
    request: &ioctl::MmapResource,
    argument: Argument,
) -> Result {
    let kind = u16::try_from(request.kind).map_err(|_| EINVAL)?;
    let resource = Resource::new(kind, request.id);

    if request.addr == 0 && request.num == 0 {
        let frames = u64::from(resource.frames(right)?);
        return argument
            .field(offset_of!(ioctl::MmapResource, num))
            .write(&frames);
    }

    let address = usize::try_from(request.addr).map_err(|_| EINVAL)?;
    let count = usize::try_from(request.num).map_err(|_| EINVAL)?;
    if address == 0 || count == 0 {
        return Err(EINVAL);
    }
    let request = Request {
        right,
        resource,
        first: u64::from(request.idx),
        address,
        count,
    };
    if count <= SMALL {
        request.map(&mut Piece::<SMALL>::new())
    } else {
        request.map(&mut *Piece::<LARGE>::boxed()?)
    }
}

struct Request<'a> {
    right: Authorised<'a>,
    resource: Resource,
    first: u64,
    address: usize,
    count: usize,
}

impl Request<'_> {
    fn map<const N: usize>(&self, piece: &mut Piece<N>) -> Result {
        let mut pieces = Pieces::new(self.count, N);
        let (_, len) = pieces.next().ok_or(EINVAL)?;
        let mut filling =
            Filling::begin(self.right, self.address, self.count, Fill::Whole, |range| {
                range.set_origin(self.resource, self.first);
                range.map_resource(
                    self.right,
                    &self.resource,
                    self.first,
                    &mut piece.first(len),
                )
            })?;
        for (index, len) in pieces {
            checkpoint()?;
            // Neither is anywhere near the end of 64 bits.
            let at = self.first.checked_add(index as u64).ok_or(EINVAL)?;
            filling.next(|range| {
                range.map_resource(self.right, &self.resource, at, &mut piece.first(len))
            })?;
        }
        filling.finish();
        Ok(())
    }
}
