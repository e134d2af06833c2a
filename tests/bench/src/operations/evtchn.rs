// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/evtchn`.

use std::time::Duration;

use xen_guest::device::evtchn::{bytes, Port};
use xen_guest::device::Evtchn;
use xen_guest::sys::{self, Errno, Result};

use super::{open_close, rejected};
use crate::measure::Report;
use crate::partner::Partner;

const FAN_IN: usize = 400;

pub fn measure(report: &mut Report, partner: &Partner) {
    open_close(report, "evtchn", Evtchn::open);
    let evtchn = match Evtchn::open_nonblocking() {
        Ok(evtchn) => evtchn,
        Err(error) => return report.unsupported("evtchn", error),
    };
    rejected(report, "evtchn", &evtchn);
    if let Err(error) = events(report, &evtchn, partner) {
        report.unsupported("evtchn_events", error);
    }
    drop(evtchn);
    for ports in [100, 800, 4000] {
        many_ports(report, partner, ports);
    }
}

fn events(report: &mut Report, evtchn: &Evtchn, partner: &Partner) -> Result<()> {
    // Nobody is at the other end yet: Xen drops the event, so this is the sender's side alone.
    let unheard = evtchn.bind_unbound(partner.domain.id().into())?;
    report.simple("notify", 1, || evtchn.notify(unheard));
    report.measure("bind_unbind", 1, |laps| {
        let port = laps.time("bind", || evtchn.bind_unbound(0))?;
        laps.time("unbind", || evtchn.unbind(port))
    });

    let (near, far) = evtchn.loopback()?;
    report.simple("poll_idle", 1, || {
        expect(sys::poll(evtchn, libc::POLLIN, Duration::ZERO)?, 0)
    });
    report.measure("round_trip", 1, |laps| {
        let mut port = far.to_ne_bytes();
        laps.time("notify", || evtchn.notify(near))?;
        let n = laps.time("read", || sys::read(evtchn, &mut port))?;
        expect((n, Port::from_ne_bytes(port)), (4, far))?;
        laps.time("unmask", || sys::write(evtchn, &port)).map(drop)
    });
    report.measure("round_trip_polled", 1, |laps| {
        let mut port = far.to_ne_bytes();
        evtchn.notify(near)?;
        let ready = laps.time("", || sys::poll(evtchn, libc::POLLIN, Duration::ZERO))?;
        expect(ready & libc::POLLIN, libc::POLLIN)?;
        sys::read(evtchn, &mut port)?;
        sys::write(evtchn, &port).map(drop)
    });
    report.simple("read_nothing", 1, || match sys::read(evtchn, &mut [0; 4]) {
        Err(Errno(libc::EAGAIN)) => Ok(()),
        _ => Err(Errno(libc::EIO)),
    });
    report.simple("unmask_unmasked", 1, || {
        sys::write(evtchn, &far.to_ne_bytes()).map(drop)
    });

    let pairs = (0..FAN_IN)
        .map(|_| evtchn.loopback())
        .collect::<Result<Vec<_>>>()?;
    let mut buffer = vec![0; FAN_IN * 4];
    report.measure(&format!("fan_in_{FAN_IN}"), FAN_IN as u64, |laps| {
        laps.time("notify", || {
            pairs.iter().try_for_each(|&(near, _)| evtchn.notify(near))
        })?;
        let n = laps.time("read", || sys::read(evtchn, &mut buffer))?;
        expect(n, FAN_IN * 4)?;
        laps.time("unmask", || sys::write(evtchn, &buffer))
            .map(drop)
    });
    let all: Vec<Port> = pairs.iter().map(|&(_, far)| far).collect();
    let all = bytes(&all);
    report.simple(&format!("unmask_unmasked_{FAN_IN}"), FAN_IN as u64, || {
        sys::write(evtchn, &all).map(drop)
    });
    Ok(())
}

/// Binding many ports to one file, and giving all of them back by closing it.
fn many_ports(report: &mut Report, partner: &Partner, ports: usize) {
    let remote = partner.domain.id().into();
    report.measure(&format!("ports_{ports}"), ports as u64, |laps| {
        let evtchn = Evtchn::open()?;
        laps.time("bind", || {
            (0..ports).try_for_each(|_| evtchn.bind_unbound(remote).map(drop))
        })?;
        laps.time("close", || drop(evtchn));
        Ok(())
    });
}

fn expect<T: PartialEq>(found: T, expected: T) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(Errno(libc::EIO))
    }
}
