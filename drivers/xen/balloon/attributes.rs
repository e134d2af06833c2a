// SPDX-License-Identifier: GPL-2.0

//! The files in sysfs.
//!
//! All of them show decimal numbers. Those that can be written to want `CAP_SYS_ADMIN` besides
//! their mode, and a text that is refused changes nothing.

use crate::{
    inflate::{
        kib_from_pages,
        pages_from_kib,
        Balloon, //
    },
    parse::{
        self,
        ParseError, //
    },
    Call,
    CALLS, //
};
use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};
use xen::{
    ext::{
        capability,
        sysfs::{
            Attribute,
            Group, //
        },
        work::Worker, //
    },
    memory::stats, //
};

type State = Worker<Balloon>;

pub(crate) static GROUPS: &[Group<State>] = &[
    Group {
        name: None,
        attributes: &[
            Attribute::read_write(
                c"target_kb",
                |state| kib_from_pages(state.job().target()),
                |state, text| set_target(state, kib(text)?),
            ),
            Attribute::read_write(
                c"target",
                |state| (state.job().target() as u64) << PAGE_SHIFT,
                |state, text| set_target(state, parse::size(text).map_err(errno)? >> 10),
            ),
            Attribute::read_write(
                c"floor_kb",
                |state| kib_from_pages(state.job().floor()),
                set_floor,
            ),
            Attribute::read_only(c"schedule_delay", |_| stats::schedule_delay() as u64),
            Attribute::read_write(
                c"max_schedule_delay",
                |_| stats::max_schedule_delay() as u64,
                set_max_schedule_delay,
            ),
            Attribute::read_only(c"retry_count", |_| stats::retry_count() as u64),
            Attribute::read_write(
                c"max_retry_count",
                |_| stats::max_retry_count() as u64,
                set_max_retry_count,
            ),
            Attribute::read_write(
                c"scrub_pages",
                |state| u64::from(state.job().scrub()),
                set_scrub,
            ),
        ],
    },
    Group {
        name: Some(c"info"),
        attributes: &[
            Attribute::read_only(c"current_kb", |_| kib_from_pages(stats::current_pages())),
            Attribute::read_only(c"low_kb", |state| kib_from_pages(state.job().ballooned())),
            Attribute::read_only(c"high_kb", |_| kib_from_pages(stats::balloon_high())),
        ],
    },
];

fn errno(error: ParseError) -> Error {
    match error {
        ParseError::Syntax => EINVAL,
        ParseError::Range => ERANGE,
    }
}

/// A number of KiB whose bytes fit in 64 bits.
fn kib(text: &[u8]) -> Result<u64> {
    let kib = parse::number(text).map_err(errno)?;
    if kib > u64::MAX >> 10 {
        return Err(ERANGE);
    }
    Ok(kib)
}

fn set_target(state: &State, kib: u64) -> Result {
    capability::sys_admin()?;
    let balloon = state.job();
    let pages = pages_from_kib(kib);
    if pages < balloon.floor() || pages > balloon.limit() {
        return Err(ERANGE);
    }
    CALLS.inc(Call::SetTarget);
    balloon.set_target(pages);
    state.kick();
    Ok(())
}

/// Any floor is accepted that the domain can stand on. It is about targets to come: one that is
/// below already is kept.
fn set_floor(state: &State, text: &[u8]) -> Result {
    capability::sys_admin()?;
    let pages = pages_from_kib(kib(text)?);
    if pages > state.job().limit() {
        return Err(ERANGE);
    }
    state.job().set_floor(pages);
    Ok(())
}

fn set_max_schedule_delay(_state: &State, text: &[u8]) -> Result {
    capability::sys_admin()?;
    let seconds = u32::try_from(parse::number(text).map_err(errno)?).map_err(|_| ERANGE)?;
    // No delay at all would be an attempt after the other.
    if seconds == 0 {
        return Err(ERANGE);
    }
    stats::set_max_schedule_delay(seconds as usize);
    Ok(())
}

fn set_max_retry_count(_state: &State, text: &[u8]) -> Result {
    capability::sys_admin()?;
    let count = u32::try_from(parse::number(text).map_err(errno)?).map_err(|_| ERANGE)?;
    stats::set_max_retry_count(count as usize);
    Ok(())
}

fn set_scrub(state: &State, text: &[u8]) -> Result {
    capability::sys_admin()?;
    state.job().set_scrub(parse::flag(text).map_err(errno)?);
    Ok(())
}
