//! Some numbers of many instances' samples: what a mean over a group reads, without the rest of each sample.

use std::collections::HashMap;

use foreshadow_proto::columns::Field;
use foreshadow_proto::convert::{Id, Sample};

use super::Stored;
use super::retraction::Spans;

/// Some fields of one instance's samples, by time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Readings {
    /// When, µs since the epoch.
    pub wall_micros: Vec<i64>,
    /// For each field that was asked for, in that order, one value for each time; `None` where the sample has not got it.
    pub values: Vec<Vec<Option<f64>>>,
}

/// What is read of every blob.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) fields: Vec<Field>,
    /// `from <= wall < to`, µs since the epoch.
    pub(super) from: i64,
    pub(super) to: i64,
    /// Of those instances that have any.
    pub(super) retracted: HashMap<Id, Spans>,
}

impl Readings {
    fn new(fields: usize) -> Self {
        Self { wall_micros: Vec::new(), values: vec![Vec::new(); fields] }
    }

    /// Parts come in about this order; streams of one instance may overlap.
    fn in_order(&mut self) {
        if self.wall_micros.is_sorted() {
            return;
        }
        let mut order: Vec<usize> = (0..self.wall_micros.len()).collect();
        order.sort_by_key(|at| self.wall_micros.get(*at));
        self.wall_micros = order.iter().filter_map(|at| self.wall_micros.get(*at).copied()).collect();
        for values in &mut self.values {
            *values = order.iter().filter_map(|at| values.get(*at).copied()).collect();
        }
    }
}

impl Asked {
    /// A place for each instance that is asked about.
    pub(super) fn places(&self, instances: &[Id]) -> HashMap<Id, Readings> {
        instances.iter().map(|instance| (instance.clone(), Readings::new(self.fields.len()))).collect()
    }

    /// What was found of each, in the order asked.
    pub(super) fn found(&self, instances: &[Id], mut found: HashMap<Id, Readings>) -> Vec<Readings> {
        found.values_mut().for_each(Readings::in_order);
        let of = |instance| found.get(instance).cloned().unwrap_or_else(|| Readings::new(self.fields.len()));
        instances.iter().map(of).collect()
    }

    fn counts(&self, instance: &Id, wall: i64) -> bool {
        let retracted =
            || self.retracted.get(instance).is_some_and(|of| of.iter().any(|(a, b)| (*a..*b).contains(&wall)));
        (self.from..self.to).contains(&wall) && !retracted()
    }

    /// Takes a run of one instance in: as many of each as there are times.
    pub(super) fn extend(
        &self,
        instance: &Id,
        walls: Vec<i64>,
        values: Vec<Vec<Option<f64>>>,
        found: &mut HashMap<Id, Readings>,
    ) {
        let Some(readings) = found.get_mut(instance) else { return };
        let within = |wall: Option<&i64>| wall.is_none_or(|wall| (self.from..self.to).contains(wall));
        let all = walls.is_sorted() && within(walls.first()) && within(walls.last());
        if all && !self.retracted.contains_key(instance) {
            readings.wall_micros.extend(walls);
            for (of, values) in readings.values.iter_mut().zip(values) {
                of.extend(values);
            }
            return;
        }
        for (of, values) in readings.values.iter_mut().zip(&values) {
            let counts = walls.iter().zip(values).filter(|(wall, _)| self.counts(instance, **wall));
            of.extend(counts.map(|(_, value)| *value));
        }
        readings.wall_micros.extend(walls.into_iter().filter(|wall| self.counts(instance, *wall)));
    }

    pub(super) fn push(&self, stored: &Stored, found: &mut HashMap<Id, Readings>) {
        let Some(readings) = found.get_mut(&stored.instance) else { return };
        if !self.counts(&stored.instance, stored.sample.wall_micros) {
            return;
        }
        readings.wall_micros.push(stored.sample.wall_micros);
        for (of, field) in readings.values.iter_mut().zip(&self.fields) {
            of.push(value(&stored.sample, *field));
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "memory sizes are below 2^53 bytes")]
fn value(sample: &Sample, field: Field) -> Option<f64> {
    let network = sample.network.as_ref();
    match field {
        Field::CoversMillis => Some(f64::from(sample.covers_millis)),
        Field::CpuPercent => sample.cpu_percent,
        Field::CpuBusiestPercent => sample.cpu_busiest_percent,
        Field::CpuStealPercent => sample.cpu_steal_percent,
        Field::MemoryUsedBytes => sample.memory_used_bytes.map(|bytes| bytes as f64),
        Field::MemoryTotalBytes => sample.memory_total_bytes.map(|bytes| bytes as f64),
        Field::InBytes => network.map(|rates| rates.in_bytes),
        Field::OutBytes => network.map(|rates| rates.out_bytes),
        Field::InPackets => network.map(|rates| rates.in_packets),
        Field::OutPackets => network.map(|rates| rates.out_packets),
        Field::Errors => network.map(|rates| rates.errors),
    }
}
