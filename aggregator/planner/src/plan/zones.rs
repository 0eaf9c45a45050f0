//! Who serves in which zone: zones are kept even, in both directions by the same count.

use std::collections::BTreeMap;

use crate::demand::InstanceMode;
use crate::evidence::{Instance, Inventory};

/// How many serve in each zone, or will soon: whom the provider counts. A zone of the group in which nobody does is one too.
pub(super) struct Zones<'a> {
    there: BTreeMap<Option<&'a str>, usize>,
}

impl<'a> Zones<'a> {
    pub(super) fn of(inventory: &'a Inventory) -> Self {
        let there = inventory.zones.iter().map(|zone| (Some(zone.as_str()), 0)).collect();
        let mut zones = Self { there };
        for instance in &inventory.instances {
            if matches!(instance.mode, InstanceMode::Serving | InstanceMode::Warming) {
                zones.add(instance);
            }
        }
        zones
    }

    /// In the zone of this one.
    pub(super) fn there(&self, instance: &Instance) -> usize {
        self.there.get(&instance.zone.as_deref()).copied().unwrap_or_default()
    }

    /// How many more the fullest zone has than the emptiest. AZRebalance leaves one alone.
    pub(super) fn spread(&self) -> usize {
        let known = || self.there.iter().filter(|(zone, _)| zone.is_some()).map(|(_, there)| *there);
        known().max().unwrap_or_default() - known().min().unwrap_or_default()
    }

    pub(super) fn add(&mut self, instance: &'a Instance) {
        *self.there.entry(instance.zone.as_deref()).or_default() += 1;
    }

    /// Without one that was counted.
    pub(super) fn remove(&mut self, instance: &'a Instance) {
        self.there.entry(instance.zone.as_deref()).and_modify(|there| *there -= 1);
    }
}
