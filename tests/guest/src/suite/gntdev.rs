// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/gntdev`.

use super::SOON;
use crate::device::Privcmd;
use crate::ktap::{check, Suite, Test, TestResult};
use crate::sys::{self, Mapping};
use crate::xen::grant::GrantTable;
use crate::xen::{BareDomain, Kind};

pub(super) mod copy;
pub(super) mod dmabuf;
mod large;
mod lifetime;
mod map;
mod notify;
mod pinned;
mod report;
mod restrict;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "gntdev",
    tests: &[
        Test::new("unknown_request", map::unknown_request),
        Test::new("bad_pointers", map::bad_pointers),
        Test::new("callers_of_32_bits", map::callers_of_32_bits),
        Test::new("maps", map::maps),
        Test::new("maps_many", map::maps_many),
        Test::new("maps_read_only", map::maps_read_only),
        Test::new("map_refused_numbers", map::refused_numbers),
        Test::new("map_limit_changes", map::limit_changes),
        Test::new("map_bad_references", map::bad_references),
        Test::new("map_index_unique", map::index_unique),
        Test::new("map_result_unwritable", map::result_unwritable),
        Test::new("munmap_releases", map::munmap_releases)
            .differs_in_c("keeps the grants mapped until the map is forgotten too")
            .there(Kind::Pvh),
        Test::new("mmap_exact", map::mmap_exact),
        Test::new("mmap_wide_offset", map::mmap_wide_offset)
            .differs_in_c("cuts the offset to 32 bits"),
        Test::new("mmap_private", map::mmap_private),
        Test::new("mmap_once", map::mmap_once),
        Test::new("mmap_refused_grant", map::refused_grant)
            .differs_in_c("a map that failed once cannot be used again"),
        Test::new("mmap_write_denied", map::write_denied)
            .differs_in_c("a map that failed once cannot be used again"),
        Test::new("unmap", map::unmap),
        Test::new("unmap_unknown", map::unmap_unknown),
        Test::new("offset_for_vaddr", map::offset_for_vaddr),
        Test::new("offset_for_foreign_vaddr", map::offset_for_foreign_vaddr)
            .differs_in_c("takes the next mapping, and any file's"),
        Test::new("offsets_of_many_maps", map::offsets_of_many_maps),
        Test::new("partial_munmap", lifetime::partial_munmap)
            .differs_in_c("keeps all until the last is unmapped")
            .there(Kind::Pvh),
        Test::new("fork_pv", lifetime::fork_pv).only(Kind::Pv),
        Test::new("fork_translated", lifetime::fork_translated).only(Kind::Pvh),
        Test::new("outlives_file", lifetime::outlives_file),
        Test::new("outlives_domain", lifetime::outlives_domain),
        Test::new("not_resized", lifetime::not_resized),
        Test::new("moved", lifetime::moved).breaks_c("loses track of the addresses"),
        Test::new("moved_not_pv", lifetime::moved_not_pv)
            .only(Kind::Pv)
            .breaks_c("loses track of the addresses"),
        Test::new("protected_not_pv", lifetime::protected_not_pv)
            .only(Kind::Pv)
            .differs_in_c("unmaps the grants"),
        Test::new("protected_same", lifetime::protected_same),
        Test::new("discarded", lifetime::discarded),
        Test::new("killed", lifetime::killed),
        Test::new("threads", lifetime::threads),
        Test::new("leaks_nothing", lifetime::leaks_nothing),
        Test::new("pinned_page_released_later", pinned::released_later)
            .breaks_c("warns, and takes the page from who has it")
            .there(Kind::Pv),
        Test::new("pinned_page_delays_only_itself", pinned::delays_only_itself)
            .breaks_c("keeps all until the last is free, or warns"),
        Test::new("pinned_page_outlives_process", pinned::outlives_process)
            .breaks_c("keeps all until the last is free, or warns"),
        Test::new("pinned_page_discarded", pinned::discarded)
            .breaks_c("warns, and takes the page from who has it")
            .there(Kind::Pv),
        Test::new("discarded_while_read", pinned::discarded_while_read)
            .breaks_c("takes the page from who has it")
            .there(Kind::Pv),
        Test::new("direct_io", pinned::direct_io),
        Test::new("direct_io_killed", pinned::direct_io_killed)
            .breaks_c("takes the page from who has it")
            .there(Kind::Pv)
            .seconds(300),
        Test::new("large_map", large::one_map).seconds(900),
        Test::new("offsets_beyond_31_bits", large::beyond_31_bits)
            .breaks_c("takes the pages for all maps when they are made"),
        Test::new("file_limit", large::file_limit).differs_in_c("has no such parameter"),
        Test::new("maps_raced", large::raced).seconds(600),
        Test::new("maps_raced_for_one", large::raced_for_one_map).seconds(600),
        Test::new("reports_file", report::of_a_file).differs_in_c("tells nothing"),
        Test::new("reports_what_waits", report::of_what_waits)
            .breaks_c("tells nothing, and takes the page from who has it"),
        Test::new("reports_system", report::of_the_system)
            .breaks_c("tells nothing, and takes the page from who has it"),
        Test::new("notify_clears_byte", notify::clears_byte),
        Test::new("notify_sends_event", notify::sends_event),
        Test::new("notify_at_death", notify::at_death),
        Test::new("notify_replaced", notify::replaced),
        Test::new("notify_keeps_port", notify::keeps_port),
        Test::new("notify_kept_port_is_nobodys", notify::kept_port_is_nobodys)
            .differs_in_c("takes any port"),
        Test::new("notify_refused", notify::refused),
        Test::new("notify_read_only", notify::read_only),
        Test::new("notify_becomes_read_only", notify::becomes_read_only)
            .breaks_c("writes to a page that may only be read"),
        Test::new("copy_both_ways", copy::both_ways),
        Test::new("copy_many", copy::many),
        Test::new("copy_between_grants", copy::between_grants),
        Test::new("copy_statuses", copy::statuses),
        Test::new("copy_refused_segments", copy::refused_segments),
        Test::new("copy_bad_memory", copy::bad_memory),
        Test::new("copy_impossible_memory", copy::impossible_memory)
            .differs_in_c("says EOVERFLOW where the address wraps"),
        Test::new("copy_read_only_source", copy::read_only_source),
        Test::new("copy_leaves_source_clean", copy::leaves_source_clean)
            .differs_in_c("one flag for all pages of a batch"),
        Test::new("restrict", restrict::restrict).differs_in_c("has no such request"),
        Test::new("restrict_narrows", restrict::narrows).differs_in_c("has no such request"),
        Test::new("restrict_earlier_map", restrict::earlier_map)
            .differs_in_c("has no such request"),
        Test::new("restrict_notify", restrict::notify).differs_in_c("has no such request"),
        Test::new("dmabuf_export", dmabuf::export)
            .only(Kind::Pvh)
            .differs_in_c("asks for a device mapping, which Xen refuses a translated domain"),
        Test::new("dmabuf_export_dma", dmabuf::export_dma)
            .only(Kind::Pvh)
            .differs_in_c("asks for a device mapping, which Xen refuses a translated domain"),
        Test::new("dmabuf_export_dma_many", dmabuf::export_dma_many)
            .only(Kind::Pvh)
            .differs_in_c("asks for a device mapping, which Xen refuses a translated domain"),
        Test::new("dmabuf_export_pv", dmabuf::export_pv).only(Kind::Pv),
        Test::new("dmabuf_export_refused", dmabuf::export_refused).only(Kind::Pvh),
        Test::new("dmabuf_wait_unknown", dmabuf::wait_unknown),
        Test::new("dmabuf_import", dmabuf::import),
        Test::new("dmabuf_import_refused", dmabuf::import_refused),
    ],
};

/// A bare domain that grants pages to this one.
pub(super) struct Grantor {
    domain: BareDomain,
    table: GrantTable,
    pub(super) references: Vec<u32>,
    pub(super) frames: Vec<u64>,
}

impl Grantor {
    pub(super) fn new(domain: BareDomain, pages: usize) -> TestResult<Self> {
        let frames = domain.populate(pages)?;
        let mut table = GrantTable::map(&domain, 2 * pages + 8)?;
        let references = table.grant(&frames, true);
        Ok(Self {
            domain,
            table,
            references,
            frames,
        })
    }

    pub(super) fn id(&self) -> u16 {
        self.domain.id()
    }

    /// The granted pages, seen as foreign frames.
    pub(super) fn view(&self) -> TestResult<Mapping> {
        Ok(Privcmd::open()?.map_frames(self.id(), &self.frames)?)
    }

    /// No grant is in use any more, and the domain goes without a rest.
    pub(super) fn released(self) -> TestResult {
        check(
            sys::eventually(SOON, || self.in_use() == 0),
            "grants are still in use",
        )?;
        let Self { domain, table, .. } = self;
        drop(table);
        check(domain.destroyed_within(SOON)?, "pages are still held")
    }

    /// How many of the grants Xen says are in use.
    pub(super) fn in_use(&self) -> usize {
        self.table.count_in_use(&self.references)
    }
}

/// Makes a test with grants of each kind of domain.
pub(super) fn each_grantor(pages: usize, body: impl Fn(Grantor) -> TestResult) -> TestResult {
    super::each_kind(|domain| body(Grantor::new(domain, pages)?))
}
