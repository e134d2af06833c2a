// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/privcmd`.

use crate::ktap::{Suite, Test};
use crate::xen::Kind;

mod batch;
pub(super) mod device_model;
pub(super) mod domu;
pub(super) mod eventfd;
mod file;
pub(super) mod foreign;
mod legacy;
mod mixed;
mod range;
mod resource;
mod running;

/// Why several tests go otherwise with the C driver.
const UNFILLED: &str = "pages whose frame failed can be touched";
const NO_EOI: &str = "leaves the end of the interrupt to others";
const PV_IOREQ: &str = "takes a mark for an address";

/// The suite.
pub const SUITE: Suite = Suite {
    name: "privcmd",
    tests: &[
        Test::new("hypercall", file::hypercall),
        Test::new("hypercall_unknown", file::hypercall_unknown),
        Test::new("unknown_request", file::unknown_request),
        Test::new("bad_pointers", file::bad_pointers),
        Test::new("callers_of_32_bits", file::callers_of_32_bits),
        Test::new("proc_privcmd", file::proc_privcmd),
        Test::new("passed_over_a_socket", file::passed_over_a_socket),
        Test::new("gsi_refused", file::gsi_refused),
        Test::new("gsi_found", file::gsi_found),
        Test::new("gsi_of_none", file::gsi_of_none).differs_in_c("says EPERM"),
        Test::new("restrict", file::restrict),
        Test::new("restrict_again", file::restrict_again),
        Test::new("restrict_reserved", file::restrict_reserved).differs_in_c("takes any number"),
        Test::new("restrict_gsi", file::restrict_gsi).differs_in_c("has no such check"),
        Test::new("restrict_keeps_ranges", file::restrict_keeps_ranges),
        Test::new("shown_in_fdinfo", file::shown_in_fdinfo).differs_in_c("shows nothing"),
        Test::new("counts_calls", file::counts_calls).differs_in_c("counts nothing"),
        Test::new("batch_maps", batch::maps),
        Test::new("batch_many", batch::many),
        Test::new("batch_sees_writes", batch::sees_writes),
        Test::new("batch_errors", batch::errors)
            .differs_in_c(UNFILLED)
            .there(Kind::Pvh),
        Test::new("batch_all_errors", batch::all_errors)
            .differs_in_c(UNFILLED)
            .there(Kind::Pvh),
        Test::new("batch_exact_range", batch::exact_range),
        Test::new("batch_foreign_range", batch::foreign_range),
        Test::new("batch_refused_numbers", batch::refused_numbers),
        Test::new("batch_bad_arrays", batch::bad_arrays),
        Test::new("batch_retry", batch::retry)
            .breaks_c("places what is retried at the start of the range")
            .there(Kind::Pvh),
        Test::new("batch_retry_filled", batch::retry_filled),
        Test::new("batch_no_domain", batch::no_domain)
            .differs_in_c(UNFILLED)
            .there(Kind::Pvh),
        Test::new("batch_v1", batch::v1),
        Test::new("batch_v1_errors", batch::v1_errors),
        Test::new("batch_threads_race", batch::threads_race),
        Test::new("batch_threads", batch::threads).seconds(240),
        Test::new("batch_killed", batch::killed).seconds(240),
        Test::new("batch_leaks_nothing", batch::leaks_nothing).seconds(240),
        Test::new("mmap_runs", legacy::runs).only(Kind::Pv),
        Test::new("mmap_refused", legacy::refused).only(Kind::Pv),
        Test::new(
            "mmap_refused_leaves_nothing",
            legacy::refused_leaves_nothing,
        )
        .only(Kind::Pv)
        .differs_in_c("keeps the range marked as filled"),
        Test::new("mmap_foreign_range", legacy::foreign_range)
            .only(Kind::Pv)
            .breaks_c("takes any range for its own"),
        Test::new("mmap_translated", legacy::translated).only(Kind::Pvh),
        Test::new("unfilled_is_sigbus", range::unfilled_is_sigbus),
        Test::new("range_outlives_file", range::outlives_file),
        Test::new("range_flags", range::flags),
        Test::new("range_not_inherited", range::not_inherited),
        Test::new("range_not_split", range::not_split),
        Test::new("range_not_resized", range::not_resized),
        Test::new("range_moved", range::moved)
            .breaks_c("loses the frames, or gives the pages back while they are mapped"),
        Test::new("range_moved_unfilled", range::moved_unfilled),
        Test::new("range_outlives_domain", range::outlives_domain),
        Test::new("range_never_filled", range::never_filled),
        Test::new("resource_size", resource::size),
        Test::new("resource_maps", resource::maps),
        Test::new("resource_halves", resource::halves),
        Test::new("resource_unknown", resource::unknown),
        Test::new("resource_foreign_range", resource::foreign_range),
        Test::new("resource_exact_range", resource::exact_range)
            .breaks_c("writes past the end of the range"),
        Test::new("resource_filled", resource::filled).breaks_c("stops the kernel"),
        Test::new(
            "resource_failure_leaves_nothing",
            resource::failure_leaves_nothing,
        )
        .breaks_c("stops the kernel at the next try")
        .there(Kind::Pvh),
        Test::new("resource_refused_numbers", resource::refused_numbers)
            .breaks_c("cuts the number to 32 bits"),
        Test::new("resource_ioreq", resource::ioreq),
        Test::new("dm_op", device_model::dm_op),
        Test::new("dm_op_no_buffers", device_model::no_buffers),
        Test::new("dm_op_empty_buffer", device_model::empty_buffer).differs_in_c("says EFAULT"),
        Test::new("dm_op_limits", device_model::limits),
        Test::new("dm_op_limits_change", device_model::limits_change),
        Test::new("dm_op_bad_buffers", device_model::bad_buffers),
        Test::new("dm_op_across_pages", device_model::across_pages),
        Test::new("irqfd_injects", eventfd::irqfd_injects),
        Test::new("irqfd_pending_at_once", eventfd::irqfd_pending_at_once),
        Test::new("irqfd_deassign", eventfd::irqfd_deassign),
        Test::new("irqfd_refused", eventfd::irqfd_refused),
        Test::new("irqfd_too_large", eventfd::irqfd_too_large)
            .breaks_c("allocates what it is told"),
        Test::new("irqfd_lengthy", eventfd::irqfd_lengthy)
            .differs_in_c("does it with interrupts disabled"),
        Test::new("irqfd_refusals_told", eventfd::irqfd_refusals_told)
            .differs_in_c("tells each of them"),
        Test::new("irqfd_ends_with_eventfd", eventfd::irqfd_ends_with_eventfd),
        Test::new("ioeventfd_assign", eventfd::ioeventfd_assign)
            .breaks_c(PV_IOREQ)
            .there(Kind::Pv),
        Test::new("ioeventfd_refused", eventfd::ioeventfd_refused)
            .breaks_c(PV_IOREQ)
            .there(Kind::Pv),
        Test::new("ioeventfd_foreign_page", eventfd::ioeventfd_foreign_page)
            .breaks_c("reads whatever lies there"),
        Test::new("ioeventfd_foreign_port", eventfd::ioeventfd_foreign_port)
            .breaks_c("takes ports that are not its own"),
        Test::new(
            "ioeventfd_ends_with_file",
            eventfd::ioeventfd_ends_with_file,
        )
        .breaks_c("stays for ever"),
        Test::new("mixed_threads_and_processes", mixed::threads_and_processes),
        Test::new("mixed_killed", mixed::killed),
        Test::new("long_request_killed", mixed::long_request_killed)
            .breaks_c("copies all the numbers first, and goes on to the end, for minutes"),
        // What is tried is the same in any guest, and it boots faster here.
        Test::new("domu_waits_for_xenstore", domu::waits_for_xenstore)
            .only(Kind::Pv)
            .long()
            .seconds(400),
        Test::new("guest_round_trips", running::round_trips)
            .breaks_c(PV_IOREQ)
            .there(Kind::Pv),
        Test::new("guest_taken_back_meanwhile", running::taken_back_meanwhile)
            .breaks_c(PV_IOREQ)
            .there(Kind::Pv),
        Test::new("guest_listener_leaves", running::listener_leaves).breaks_c(NO_EOI),
        Test::new("guest_wired_together", running::wired_together).breaks_c(NO_EOI),
        Test::new("guest_owner_killed", running::killed).breaks_c("stays for ever"),
    ],
};
