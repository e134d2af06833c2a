// SPDX-License-Identifier: GPL-2.0

//! Frames of other domains by number: `MMAP`, and `MMAPBATCH` in its two versions.
//!
//! The numbers are read, and what came of them is written, a piece at a time, with no lock held:
//! a million frames take no more memory than a few.

use crate::{
    ioctl,
    outcome::Outcome, //
};
use kernel::{
    prelude::*,
    transmute::AsBytes,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use xen::{
    ext::task::checkpoint,
    foreign::{
        self,
        Filling,
        Frames,
        Piece,
        LARGE,
        SMALL, //
    },
    range::{
        Fill,
        Pieces,
        Span,
        Tile,
        Tiling, //
    },
    restriction::Authorised, //
};

/// Element `index` of an array of `T` in user space, as a run of `len` of them.
///
/// # Errors
///
/// `EFAULT` when it is beyond all addresses.
fn elements<T>(array: usize, index: usize, len: usize) -> Result<UserSlice> {
    let offset = index.checked_mul(size_of::<T>()).ok_or(EFAULT)?;
    let address = array.checked_add(offset).ok_or(EFAULT)?;
    let bytes = len.checked_mul(size_of::<T>()).ok_or(EFAULT)?;
    Ok(UserSlice::new(UserPtr::from_addr(address), bytes))
}

/// Where what came of the frames goes.
#[derive(Copy, Clone)]
enum Errors {
    /// Into the array of frames.
    IntoFrames,
    /// Into an array of its own.
    Own(usize),
}

/// A request of either version.
struct Batch {
    address: usize,
    count: usize,
    frames: usize,
    errors: Errors,
}

/// `MMAPBATCH`.
///
/// # Errors
///
/// `EINVAL` for a count that is not positive, otherwise as [`batch_v2`].
pub(crate) fn batch_v1(right: Authorised<'_>, request: &ioctl::MmapBatch) -> Result {
    batch(
        right,
        &Batch {
            address: usize::try_from(request.addr).map_err(|_| EINVAL)?,
            count: usize::try_from(request.num).map_err(|_| EINVAL)?,
            frames: request.arr,
            errors: Errors::IntoFrames,
        },
    )
}

/// `MMAPBATCH_V2`.
///
/// # Errors
///
/// `EINVAL` unless the request is about a whole range of ours that has not been filled, or a part
/// of a filled one where no page has a frame; `EFAULT` when an array is not the caller's; `ENOMEM`;
/// `EINTR`. Then nothing is mapped. `ENOENT`
/// when a frame is paged out: then the others are mapped.
pub(crate) fn batch_v2(right: Authorised<'_>, request: &ioctl::MmapBatchV2) -> Result {
    batch(
        right,
        &Batch {
            address: usize::try_from(request.addr).map_err(|_| EINVAL)?,
            count: usize::try_from(request.num).map_err(|_| EINVAL)?,
            frames: request.arr,
            errors: Errors::Own(request.err),
        },
    )
}

fn batch(right: Authorised<'_>, request: &Batch) -> Result {
    if request.count == 0 {
        return Err(EINVAL);
    }
    if request.count <= SMALL {
        batch_with(right, request, &mut Piece::<SMALL>::new())
    } else {
        batch_with(right, request, &mut *Piece::<LARGE>::boxed()?)
    }
}

fn batch_with<const N: usize>(
    right: Authorised<'_>,
    request: &Batch,
    piece: &mut Piece<N>,
) -> Result {
    let mut pieces = Pieces::new(request.count, N);
    let mut paged_out = false;

    let (index, len) = pieces.next().ok_or(EINVAL)?;
    let mut frames = piece.first(len);
    read_frames(request, index, &mut frames)?;
    let mut filling = Filling::begin(
        right,
        request.address,
        request.count,
        Fill::Batch,
        |range| range.map(right, &mut frames),
    )?;
    paged_out |= report(request, index, &mut frames)?;

    for (index, len) in pieces {
        checkpoint()?;
        let mut frames = piece.first(len);
        read_frames(request, index, &mut frames)?;
        filling.next(|range| range.map(right, &mut frames))?;
        paged_out |= report(request, index, &mut frames)?;
    }

    filling.finish();
    if paged_out {
        return Err(ENOENT);
    }
    Ok(())
}

fn read_frames(request: &Batch, index: usize, frames: &mut Frames<'_>) -> Result {
    elements::<u64>(request.frames, index, frames.len())?
        .reader()
        .read_slice(AsBytes::as_bytes_mut(frames.numbers()))
}

/// Tells the caller what came of the frames. Returns whether one was paged out.
fn report(request: &Batch, index: usize, frames: &mut Frames<'_>) -> Result<bool> {
    match request.errors {
        Errors::Own(array) => elements::<i32>(array, index, frames.len())?
            .writer()
            .write_slice(AsBytes::as_bytes(frames.errors()))?,
        Errors::IntoFrames => {
            // Frames that were mapped are left alone: the array may be read-only.
            for (i, (frame, error)) in frames.results().enumerate() {
                let Some(marked) = Outcome::of(error).mark(frame) else {
                    continue;
                };
                let index = index.checked_add(i).ok_or(EFAULT)?;
                elements::<u64>(request.frames, index, 1)?
                    .writer()
                    .write(&marked)?;
            }
        }
    }
    Ok(Outcome::any_paged_out(frames.errors()))
}

/// `MMAP`: runs of frames, one after the other from the start of a range.
///
/// # Errors
///
/// `EINVAL` unless the runs tile a range of ours from its start, and that has not been filled;
/// what Xen says of the first frame that it refuses; `EFAULT`, `ENOMEM`, `EINTR`. Then
/// nothing is mapped.
pub(crate) fn tiles(right: Authorised<'_>, request: &ioctl::Mmap) -> Result {
    let count = usize::try_from(request.num).map_err(|_| EINVAL)?;
    if count == 0 {
        return Ok(());
    }
    let first = read_tile(request, 0)?;
    let start = usize::try_from(first.address).map_err(|_| EINVAL)?;
    let extent = foreign::extent_at(start)?;

    // Where the tiles end is known before anything is mapped; should they change meanwhile, that
    // is found out when they are laid again.
    let mut tiling = Tiling::new(extent);
    let mut pages = 0usize;
    for index in 0..count {
        checkpoint()?;
        if let Some(span) = tiling.lay(read_tile(request, index)?).map_err(|_| EINVAL)? {
            pages = pages.checked_add(span.pages()).ok_or(EINVAL)?;
        }
    }
    if pages == 0 {
        return Ok(());
    }

    let mut piece = Piece::<LARGE>::boxed()?;
    let mut tiling = Tiling::new(extent);
    let mut filling: Option<Filling> = None;
    for index in 0..count {
        let tile = read_tile(request, index)?;
        let Some(span) = tiling.lay(tile).map_err(|_| EINVAL)? else {
            continue;
        };
        filling = Some(lay(right, start, pages, tile, span, &mut piece, filling)?);
    }
    // Had the tiles shrunk meanwhile, the rest of the range is just not filled.
    if let Some(filling) = filling {
        filling.finish();
    }
    Ok(())
}

fn lay(
    right: Authorised<'_>,
    start: usize,
    total: usize,
    tile: Tile,
    span: Span,
    piece: &mut Piece<LARGE>,
    filling: Option<Filling>,
) -> Result<Filling> {
    let mut filling = filling;
    for (at, len) in Pieces::new(span.pages(), LARGE) {
        checkpoint()?;
        let mut frames = piece.first(len);
        for (i, number) in frames.numbers().iter_mut().enumerate() {
            // Does not wrap, as the tile as a whole does not.
            *number = tile.frame.wrapping_add((at + i) as u64);
        }
        match &mut filling {
            None => {
                filling = Some(Filling::begin(right, start, total, Fill::Tiles, |range| {
                    range.map(right, &mut frames)
                })?);
            }
            Some(filling) => filling.next(|range| range.map(right, &mut frames))?,
        }
        frames.all_mapped()?;
    }
    filling.ok_or(EINVAL)
}

fn read_tile(request: &ioctl::Mmap, index: usize) -> Result<Tile> {
    let entry: ioctl::MmapEntry = elements::<ioctl::MmapEntry>(request.entry, index, 1)?
        .reader()
        .read()?;
    Ok(Tile {
        address: entry.va,
        frame: entry.mfn,
        pages: entry.npages,
    })
}
