// SPDX-License-Identifier: GPL-2.0

use crate::ktap::Suite;

/// The suite.
pub const SUITE: Suite = Suite { name: "gntdev", tests: &[] };
