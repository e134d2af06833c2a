// SPDX-License-Identifier: GPL-2.0

//! The figures: read from the console, written to and read from JSON.

use std::collections::BTreeMap;

use anyhow::{anyhow, Context, Result};
use serde_json::{json, Map, Value};

use crate::lane::{Dom0, Drivers};

/// What one boot has measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Instructions for each item of an operation.
    operations: BTreeMap<String, f64>,
    /// The operations in the order they were measured.
    order: Vec<String>,
    /// Operations that could not be made, and why.
    unsupported: BTreeMap<String, String>,
    /// Instructions for each item of a hypercall, by name and number of items.
    floors: BTreeMap<(String, u64), f64>,
    /// Bytes of kernel memory for each thing.
    memory: BTreeMap<String, f64>,
    /// Bytes that each module takes when loaded.
    modules: BTreeMap<String, f64>,
    /// Instructions of all processors for an operation that several make at once.
    scaling: BTreeMap<String, f64>,
}

impl Figures {
    /// Takes a line as the measuring program prints it.
    pub fn take(&mut self, line: &str) -> Result<()> {
        let line: Value = serde_json::from_str(line).with_context(|| format!("figures: {line}"))?;
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let number = |key: &str| {
            let value = line[key].as_f64();
            value.ok_or_else(|| anyhow!("figures without {key}: {line}"))
        };
        if let Some(name) = text("operation") {
            match text("unsupported") {
                Some(reason) => drop(self.unsupported.insert(name, reason)),
                None => self.operation(name, number("instructions")?),
            }
        } else if let Some(name) = text("floor") {
            let items = number("items")? as u64;
            self.floors.insert((name, items), number("instructions")?);
        } else if let Some(name) = text("memory") {
            match text("unsupported") {
                Some(reason) => drop(self.unsupported.insert(name, reason)),
                None => {
                    let bytes = number("slab")? + number("vmalloc")? + number("percpu")?;
                    self.memory.insert(name, bytes);
                }
            }
        } else if let Some(name) = text("scaling") {
            self.scaling.insert(name, number("instructions")?);
        } else if let Some(name) = text("module") {
            self.modules.insert(name, number("bytes")?);
        }
        Ok(())
    }

    fn operation(&mut self, name: String, instructions: f64) {
        if !self.operations.contains_key(&name) {
            self.order.push(name.clone());
        }
        self.operations.insert(name, instructions);
    }

    /// Instructions for each item of an operation.
    pub fn operations(&self) -> &BTreeMap<String, f64> {
        &self.operations
    }

    /// The operations in the order they were measured.
    pub fn order(&self) -> &[String] {
        &self.order
    }

    /// What could not be measured, and why.
    pub fn unsupported(&self) -> &BTreeMap<String, String> {
        &self.unsupported
    }

    /// Instructions of a hypercall for each of `items`: of that many, or of the next fewer that
    /// have been measured.
    pub fn floor(&self, name: &str, items: u64) -> Option<f64> {
        let upto = (name.to_owned(), items);
        let (key, value) = self.floors.range(..=upto).next_back()?;
        (key.0 == name).then_some(*value)
    }

    /// Bytes of kernel memory for each thing.
    pub fn memory(&self) -> &BTreeMap<String, f64> {
        &self.memory
    }

    /// Bytes that each module takes when loaded.
    pub fn modules(&self) -> &BTreeMap<String, f64> {
        &self.modules
    }

    /// Instructions of all processors for an operation that several make at once: by operation,
    /// files and number of processors.
    pub fn scaling(&self) -> &BTreeMap<String, f64> {
        &self.scaling
    }

    /// Takes over what has not been measured again.
    fn keep(&mut self, former: Self) {
        fn merge<K: Ord, V>(new: &mut BTreeMap<K, V>, former: BTreeMap<K, V>) {
            for (key, value) in former {
                new.entry(key).or_insert(value);
            }
        }
        // Where it stood before. What is new goes behind.
        let mut order = former.order;
        order.extend(
            std::mem::take(&mut self.order)
                .into_iter()
                .filter(|name| !former.operations.contains_key(name)),
        );
        self.order = order;
        for name in self.operations.keys() {
            self.unsupported.remove(name);
        }
        let operations = &self.operations;
        let unsupported = former.unsupported.into_iter();
        let mut unsupported: BTreeMap<_, _> = unsupported
            .filter(|(name, _)| !operations.contains_key(name))
            .collect();
        unsupported.append(&mut self.unsupported);
        self.unsupported = unsupported;
        merge(&mut self.operations, former.operations);
        merge(&mut self.floors, former.floors);
        merge(&mut self.memory, former.memory);
        merge(&mut self.modules, former.modules);
        merge(&mut self.scaling, former.scaling);
    }

    fn to_value(&self) -> Value {
        let floors: Map<String, Value> = self
            .floors
            .iter()
            .map(|((name, items), value)| (format!("{name} {items}"), json!(value)))
            .collect();
        let operations: Vec<Value> = self
            .order
            .iter()
            .map(|name| json!([name, self.operations[name]]))
            .collect();
        json!({
            "instructions": operations,
            "unsupported": self.unsupported,
            "hypercalls": floors,
            "memory": self.memory,
            "modules": self.modules,
            "scaling": self.scaling,
        })
    }

    fn from_value(value: &Value) -> Self {
        let numbers = |key: &str| -> BTreeMap<String, f64> {
            let map = value[key].as_object().into_iter().flatten();
            map.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
                .collect()
        };
        let mut figures = Self {
            memory: numbers("memory"),
            modules: numbers("modules"),
            scaling: numbers("scaling"),
            ..Self::default()
        };
        for (name, value) in numbers("hypercalls") {
            if let Some((name, items)) = name.split_once(' ') {
                if let Ok(items) = items.parse() {
                    figures.floors.insert((name.to_owned(), items), value);
                }
            }
        }
        for (name, reason) in value["unsupported"].as_object().into_iter().flatten() {
            let reason = reason.as_str().unwrap_or_default().to_owned();
            figures.unsupported.insert(name.clone(), reason);
        }
        for pair in value["instructions"].as_array().into_iter().flatten() {
            if let (Some(name), Some(value)) = (pair[0].as_str(), pair[1].as_f64()) {
                figures.operation(name.to_owned(), value);
            }
        }
        figures
    }
}

/// The figures of all boots.
#[derive(Clone, Debug, PartialEq)]
pub struct All {
    /// The kernel they were measured in.
    pub release: String,
    boots: BTreeMap<(&'static str, &'static str), Figures>,
}

impl All {
    pub fn new(release: &str) -> Self {
        Self {
            release: release.to_owned(),
            boots: BTreeMap::new(),
        }
    }

    /// Adds what one boot has measured to what others of its kind have.
    pub fn add(&mut self, dom0: Dom0, drivers: Drivers, mut figures: Figures) {
        let boot = (dom0.name(), drivers.name());
        if let Some(former) = self.boots.remove(&boot) {
            figures.keep(former);
        }
        self.boots.insert(boot, figures);
    }

    /// Takes over the figures that have not been measured again.
    pub fn keep(&mut self, former: Self) {
        for (boot, figures) in former.boots {
            match self.boots.get_mut(&boot) {
                Some(new) => new.keep(figures),
                None => drop(self.boots.insert(boot, figures)),
            }
        }
    }

    /// Of what was measured again keeps the lower figure.
    pub fn lower(&mut self, dom0: Dom0, drivers: Drivers, again: &Figures) {
        if let Some(figures) = self.boots.get_mut(&(dom0.name(), drivers.name())) {
            for (name, figure) in &mut figures.operations {
                if let Some(again) = again.operations.get(name) {
                    *figure = figure.min(*again);
                }
            }
        }
    }

    pub fn of(&self, dom0: Dom0, drivers: Drivers) -> Option<&Figures> {
        self.boots.get(&(dom0.name(), drivers.name()))
    }

    pub fn to_json(&self) -> String {
        let mut all = Map::new();
        all.insert("linux".to_owned(), json!(self.release));
        for ((dom0, drivers), figures) in &self.boots {
            all.insert(format!("{dom0} {drivers}"), figures.to_value());
        }
        // A map that was just made of strings and numbers can be written.
        let mut text = serde_json::to_string_pretty(&all).unwrap_or_default();
        text.push('\n');
        text
    }

    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).context("reading figures")?;
        let mut all = Self::new(value["linux"].as_str().unwrap_or_default());
        for dom0 in Dom0::ALL {
            for drivers in [Drivers::C, Drivers::Rust] {
                let figures = &value[&format!("{} {}", dom0.name(), drivers.name())];
                if figures.is_object() {
                    all.add(dom0, drivers, Figures::from_value(figures));
                }
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn sample(scale: f64) -> Figures {
        let mut figures = Figures::default();
        for line in [
            format!(
                r#"{{"operation":"privcmd_rejected_ioctl","items":1,"instructions":{}}}"#,
                100.0 * scale
            ),
            format!(
                r#"{{"operation":"null_hypercall","items":1,"instructions":{}}}"#,
                500.0 * scale
            ),
            r#"{"operation":"balloon_set_target","unsupported":"ENOENT"}"#.to_owned(),
            r#"{"floor":"null_hypercall","items":1,"instructions":300.0}"#.to_owned(),
            r#"{"floor":"grant_map","items":16,"instructions":16.0}"#.to_owned(),
            r#"{"floor":"grant_map","items":256,"instructions":256.0}"#.to_owned(),
            r#"{"memory":"bound_port","count":3,"slab":10.0,"vmalloc":1.0,"percpu":0.5,"all":9.0}"#
                .to_owned(),
            r#"{"module":"xen_evtchn","ours":true,"bytes":16384,"file_bytes":1}"#.to_owned(),
        ] {
            figures.take(&line).unwrap();
        }
        figures
    }

    #[test]
    fn lines_are_read() {
        let figures = sample(1.0);
        assert_eq!(figures.operations()["null_hypercall"], 500.0);
        assert_eq!(
            figures.order(),
            ["privcmd_rejected_ioctl", "null_hypercall"]
        );
        assert_eq!(figures.unsupported()["balloon_set_target"], "ENOENT");
        assert_eq!(figures.memory()["bound_port"], 11.5);
        assert!(figures.clone().take("{").is_err());
        assert!(figures.clone().take(r#"{"operation":"x"}"#).is_err());
    }

    #[test]
    fn a_floor_is_that_of_the_next_fewer_items() {
        let figures = sample(1.0);
        assert_eq!(figures.floor("grant_map", 4096), Some(256.0));
        assert_eq!(figures.floor("grant_map", 16), Some(16.0));
        assert_eq!(figures.floor("grant_map", 1), None);
        assert_eq!(figures.floor("other", 1), None);
    }

    #[test]
    fn what_was_not_measured_again_is_kept() {
        let mut all = All::new("7.3.4");
        all.add(Dom0::Pv, Drivers::C, sample(1.0));
        let mut former = All::new("7.3.3");
        former.add(Dom0::Pv, Drivers::C, sample(2.0));
        former.add(Dom0::Pvh, Drivers::C, sample(2.0));
        all.keep(former);
        assert_eq!(all.of(Dom0::Pv, Drivers::C), Some(&sample(1.0)));
        assert_eq!(all.of(Dom0::Pvh, Drivers::C), Some(&sample(2.0)));
    }

    #[test]
    fn a_part_is_measured_again() {
        let mut all = All::new("7.3.4");
        all.add(Dom0::Pv, Drivers::Rust, sample(1.0));
        let mut again = Figures::default();
        again
            .take(r#"{"operation":"null_hypercall","items":1,"instructions":7.0}"#)
            .unwrap();
        again
            .take(r#"{"scaling":"notify one 2","instructions":9.0}"#)
            .unwrap();
        let mut new = All::new("7.3.4");
        new.add(Dom0::Pv, Drivers::Rust, again);
        new.keep(all);
        let figures = new.of(Dom0::Pv, Drivers::Rust).unwrap();
        assert_eq!(figures.operations()["null_hypercall"], 7.0);
        assert_eq!(figures.operations()["privcmd_rejected_ioctl"], 100.0);
        assert_eq!(figures.order(), sample(1.0).order());
        assert_eq!(figures.unsupported(), sample(1.0).unsupported());
        assert_eq!(figures.scaling()["notify one 2"], 9.0);
        assert_eq!(All::parse(&new.to_json()).unwrap(), new);
    }

    #[test]
    fn the_lower_figure_counts() {
        let mut all = All::new("7.3.4");
        all.add(Dom0::Pv, Drivers::Rust, sample(1.0));
        for again in [0.5, 2.0] {
            all.lower(Dom0::Pv, Drivers::Rust, &sample(again));
            all.lower(Dom0::Pvh, Drivers::Rust, &sample(again));
        }
        assert_eq!(all.of(Dom0::Pv, Drivers::Rust), Some(&sample(0.5)));
        assert_eq!(all.of(Dom0::Pvh, Drivers::Rust), None);
    }

    #[test]
    fn json_keeps_everything() {
        let mut all = All::new("7.3.4");
        all.add(Dom0::Pv, Drivers::C, sample(1.0));
        all.add(Dom0::Pvh, Drivers::Rust, sample(0.5));
        assert_eq!(All::parse(&all.to_json()).unwrap(), all);
    }
}
