// SPDX-License-Identifier: GPL-2.0

//! The least an operation can cost: a call that does nothing for each call it makes, and the
//! hypercalls that it needs, in as few batches as Xen allows.

use super::figures::Figures;

/// What an operation is made of.
struct Recipe {
    /// The operation, without the number of items.
    operation: &'static str,
    /// The device, whose rejected ioctl is the cost of a call.
    device: &'static str,
    /// How many calls there are for all items, or for each.
    calls: Calls,
    /// The hypercalls for each item.
    hypercalls: &'static [&'static str],
}

enum Calls {
    InAll(u32),
    ForEach(u32),
}

use Calls::{ForEach, InAll};

const fn recipe(
    operation: &'static str,
    device: &'static str,
    calls: Calls,
    hypercalls: &'static [&'static str],
) -> Recipe {
    Recipe {
        operation,
        device,
        calls,
        hypercalls,
    }
}

const RECIPES: &[Recipe] = &[
    recipe("null_hypercall", "privcmd", InAll(1), &["null_hypercall"]),
    recipe(
        "foreign_map",
        "privcmd",
        InAll(3),
        &["foreign_map", "foreign_unmap"],
    ),
    recipe("foreign_map.ioctl", "privcmd", InAll(1), &["foreign_map"]),
    recipe(
        "foreign_map.munmap",
        "privcmd",
        InAll(1),
        &["foreign_unmap"],
    ),
    recipe(
        "foreign_map_errors",
        "privcmd",
        InAll(3),
        &["foreign_map", "foreign_unmap"],
    ),
    recipe("notify", "evtchn", InAll(1), &["evtchn_send"]),
    recipe(
        "bind_unbind",
        "evtchn",
        InAll(2),
        &["evtchn_bind", "evtchn_close"],
    ),
    recipe("poll_idle", "evtchn", InAll(1), &[]),
    recipe("read_nothing", "evtchn", InAll(1), &[]),
    recipe("unmask_unmasked", "evtchn", InAll(1), &[]),
    recipe(
        "round_trip",
        "evtchn",
        InAll(3),
        &["evtchn_send", "evtchn_unmask"],
    ),
    recipe("round_trip.notify", "evtchn", InAll(1), &["evtchn_send"]),
    recipe("round_trip.read", "evtchn", InAll(1), &[]),
    recipe("round_trip.unmask", "evtchn", InAll(1), &["evtchn_unmask"]),
    recipe("round_trip_polled", "evtchn", InAll(1), &[]),
    recipe("fan_in.notify", "evtchn", ForEach(1), &["evtchn_send"]),
    recipe("fan_in.read", "evtchn", InAll(1), &[]),
    recipe("fan_in.unmask", "evtchn", InAll(1), &["evtchn_unmask"]),
    recipe("ports.bind", "evtchn", ForEach(1), &["evtchn_bind"]),
    recipe("ports.close", "evtchn", InAll(1), &["evtchn_close"]),
    recipe("grants", "gntdev", InAll(4), &["grant_map", "grant_unmap"]),
    recipe("grants.mmap", "gntdev", InAll(1), &["grant_map"]),
    recipe("grants.munmap", "gntdev", InAll(1), &["grant_unmap"]),
    recipe("maps", "gntdev", ForEach(2), &[]),
    recipe("copy_to", "gntdev", InAll(1), &["grant_copy"]),
    recipe("copy_from", "gntdev", InAll(1), &["grant_copy"]),
    // The pages are not cleared in it.
    recipe(
        "balloon_move_mib",
        "privcmd",
        InAll(0),
        &["balloon_give", "balloon_take"],
    ),
    recipe(
        "balloon_move_mib.out",
        "privcmd",
        InAll(0),
        &["balloon_give"],
    ),
    recipe(
        "balloon_move_mib.back",
        "privcmd",
        InAll(0),
        &["balloon_take"],
    ),
];

/// Takes the number of items out of an operation's name: `grants_16.mmap` is `grants.mmap` of 16.
pub fn items(operation: &str) -> (String, u64) {
    let mut items = 1;
    let mut parts = Vec::new();
    for part in operation.split('.') {
        let mut words = Vec::new();
        for word in part.split('_') {
            match word.parse() {
                Ok(number) => items = number,
                Err(_) => words.push(word),
            }
        }
        parts.push(words.join("_"));
    }
    (parts.join("."), items)
}

/// Instructions that each item of an operation needs at least.
pub fn of(operation: &str, figures: &Figures) -> Option<f64> {
    let (name, items) = items(operation);
    let recipe = RECIPES.iter().find(|recipe| recipe.operation == name)?;
    let call = figures
        .operations()
        .get(&format!("{}_rejected_ioctl", recipe.device))?;
    let mut sum = match recipe.calls {
        Calls::InAll(calls) => call * f64::from(calls) / items as f64,
        Calls::ForEach(calls) => call * f64::from(calls),
    };
    for hypercall in recipe.hypercalls {
        sum += figures.floor(hypercall, items)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::*;

    #[test]
    fn names_are_told_from_numbers() {
        assert_eq!(items("grants_16.mmap"), ("grants.mmap".to_owned(), 16));
        assert_eq!(
            items("foreign_map_64_errors"),
            ("foreign_map_errors".to_owned(), 64)
        );
        assert_eq!(items("notify"), ("notify".to_owned(), 1));
    }

    #[test]
    fn a_floor_is_calls_and_hypercalls() {
        let figures = sample(1.0);
        assert_eq!(of("null_hypercall", &figures), Some(400.0));
        assert_eq!(of("grants_16", &figures), None);
        assert_eq!(of("something", &figures), None);
    }
}
