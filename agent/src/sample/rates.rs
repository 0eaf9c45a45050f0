//! From two readings to rates. Counters that went back, interfaces that came or went, a clock that
//! stood still: the field is absent then. No negative or absurd rate ever leaves the agent.

use foreshadow_proto::convert::{MAX_BYTES_PER_SECOND, MAX_PACKETS_PER_SECOND};
use foreshadow_proto::v1;

use super::{CpuReading, CpuTicks, InterfaceCounters, Reading};

/// What one interval says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    pub cpu_percent: Option<f32>,
    pub cpu_busiest_percent: Option<f32>,
    pub cpu_steal_percent: Option<f32>,
    pub network: Option<v1::Network>,
}

/// Rates from `previous` to `current`, `elapsed_micros` of boot time apart.
pub fn rates(previous: &Reading, current: &Reading, elapsed_micros: u64) -> Rates {
    let mut rates = Rates { network: network(previous, current, elapsed_micros), ..Rates::default() };
    match (&previous.cpu, &current.cpu) {
        (
            Some(CpuReading::Ticks { total: before, cores: cores_before, .. }),
            Some(CpuReading::Ticks { total, cores, knows_steal }),
        ) => {
            let whole = shares(*before, *total);
            rates.cpu_percent = whole.map(|(busy, _)| busy);
            rates.cpu_steal_percent = whole.filter(|_| *knows_steal).map(|(_, steal)| steal);
            if cores.len() == cores_before.len() {
                let busy = cores_before.iter().zip(cores).filter_map(|(before, after)| shares(*before, *after));
                rates.cpu_busiest_percent = busy.map(|(busy, _)| busy).reduce(f32::max);
            }
        }
        (_, Some(CpuReading::Percent { total, busiest })) => {
            rates.cpu_percent = percent(*total);
            rates.cpu_busiest_percent = percent(*busiest);
        }
        _ => {}
    }
    rates
}

/// Busy and stolen percent between two tick counts.
#[allow(clippy::cast_precision_loss, reason = "tick differences are far below 2^53")]
fn shares(before: CpuTicks, after: CpuTicks) -> Option<(f32, f32)> {
    let busy = after.busy.checked_sub(before.busy)?;
    let steal = after.steal.checked_sub(before.steal)?;
    // The kernel lets iowait run backwards a little; idle time is never negative.
    let idle = after.idle.saturating_sub(before.idle);
    let all = busy.checked_add(steal)?.checked_add(idle)?;
    if all == 0 {
        return None;
    }
    Some((percent(100.0 * busy as f64 / all as f64)?, percent(100.0 * steal as f64 / all as f64)?))
}

#[allow(clippy::cast_possible_truncation, reason = "between 0 and 100")]
fn percent(value: f64) -> Option<f32> {
    value.is_finite().then(|| value.clamp(0.0, 100.0) as f32)
}

#[allow(clippy::cast_precision_loss, reason = "counter differences are far below 2^53")]
fn network(previous: &Reading, current: &Reading, elapsed_micros: u64) -> Option<v1::Network> {
    let (before, after) = (previous.interfaces.as_ref()?, current.interfaces.as_ref()?);
    if elapsed_micros == 0 {
        return None;
    }
    let seconds = elapsed_micros as f64 / 1e6;
    let mut sum = InterfaceCounters::default();
    let mut measured = false;
    for (name, counters) in after {
        // An interface that just came up has no rate yet; one that went away counts no more.
        let Some(earlier) = before.get(name) else { continue };
        // A counter that went back was reset: the whole interval is unknown, not zero.
        let passed = since(*earlier, *counters)?;
        sum = InterfaceCounters {
            in_bytes: sum.in_bytes.checked_add(passed.in_bytes)?,
            out_bytes: sum.out_bytes.checked_add(passed.out_bytes)?,
            in_packets: sum.in_packets.checked_add(passed.in_packets)?,
            out_packets: sum.out_packets.checked_add(passed.out_packets)?,
            errors: sum.errors.checked_add(passed.errors)?,
        };
        measured = true;
    }
    let rate = |count: u64, most: f64| Some(count as f64 / seconds).filter(|rate| *rate <= most);
    if !measured {
        return None;
    }
    Some(v1::Network {
        in_bytes: rate(sum.in_bytes, MAX_BYTES_PER_SECOND)?,
        out_bytes: rate(sum.out_bytes, MAX_BYTES_PER_SECOND)?,
        in_packets: rate(sum.in_packets, MAX_PACKETS_PER_SECOND)?,
        out_packets: rate(sum.out_packets, MAX_PACKETS_PER_SECOND)?,
        errors: rate(sum.errors, MAX_PACKETS_PER_SECOND)?,
    })
}

fn since(before: InterfaceCounters, after: InterfaceCounters) -> Option<InterfaceCounters> {
    Some(InterfaceCounters {
        in_bytes: after.in_bytes.checked_sub(before.in_bytes)?,
        out_bytes: after.out_bytes.checked_sub(before.out_bytes)?,
        in_packets: after.in_packets.checked_sub(before.in_packets)?,
        out_packets: after.out_packets.checked_sub(before.out_packets)?,
        errors: after.errors.checked_sub(before.errors)?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ticks(busy: u64, idle: u64, steal: u64) -> Reading {
        let total = CpuTicks { busy, idle, steal };
        Reading { cpu: Some(CpuReading::Ticks { total, cores: vec![total], knows_steal: true }), ..Reading::default() }
    }

    fn interface(name: &str, in_bytes: u64) -> Reading {
        let counters = InterfaceCounters { in_bytes, ..InterfaceCounters::default() };
        Reading { interfaces: Some(BTreeMap::from([(name.to_owned(), counters)])), ..Reading::default() }
    }

    #[test]
    fn percentages_are_shares_of_all_time() {
        let rates = rates(&ticks(0, 0, 0), &ticks(30, 60, 10), 1_000_000);
        assert_eq!((rates.cpu_percent, rates.cpu_steal_percent), (Some(30.0), Some(10.0)));
        assert_eq!(rates.cpu_busiest_percent, Some(30.0));
    }

    #[test]
    fn a_reset_is_absent_and_iowait_may_run_back() {
        assert_eq!(rates(&ticks(50, 50, 0), &ticks(10, 90, 0), 1_000_000).cpu_percent, None);
        assert_eq!(rates(&ticks(50, 50, 0), &ticks(60, 49, 0), 1_000_000).cpu_percent, Some(100.0));
        assert_eq!(rates(&ticks(5, 5, 5), &ticks(5, 5, 5), 1_000_000).cpu_percent, None);
    }

    #[test]
    fn interfaces_come_go_and_reset() {
        let from = interface("eth0", 1_000);
        let rate = |to: &Reading| rates(&from, to, 2_000_000).network.map(|network| network.in_bytes);
        assert_eq!(rate(&interface("eth0", 3_000)), Some(1_000.0));
        assert_eq!(rate(&interface("eth0", 10)), None);
        assert_eq!(rate(&interface("eth1", 9_000_000)), None);
        assert_eq!(rates(&from, &from, 0).network, None);
    }

    prop_compose! {
        fn reading()(
            total: [u64; 3], cores in proptest::collection::vec(any::<[u64; 3]>(), 0..4), knows_steal: bool,
            interfaces in proptest::collection::btree_map("eth[0-2]", any::<[u64; 5]>(), 0..3),
        ) -> Reading {
            let ticks = |[busy, idle, steal]: [u64; 3]| CpuTicks { busy, idle, steal };
            let counters = |[in_bytes, out_bytes, in_packets, out_packets, errors]: [u64; 5]| {
                InterfaceCounters { in_bytes, out_bytes, in_packets, out_packets, errors }
            };
            Reading {
                cpu: Some(CpuReading::Ticks {
                    total: ticks(total), cores: cores.into_iter().map(ticks).collect(), knows_steal,
                }),
                interfaces: Some(interfaces.into_iter().map(|(name, values)| (name, counters(values))).collect()),
                ..Reading::default()
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_counters_do_no_rate_is_absurd(before in reading(), after in reading(), elapsed: u64) {
            let rates = rates(&before, &after, elapsed);
            for percent in [rates.cpu_percent, rates.cpu_busiest_percent, rates.cpu_steal_percent].into_iter().flatten() {
                prop_assert!((0.0..=100.0).contains(&percent));
            }
            if let Some(network) = rates.network {
                for rate in [network.in_bytes, network.out_bytes] {
                    prop_assert!((0.0..=MAX_BYTES_PER_SECOND).contains(&rate));
                }
                for rate in [network.in_packets, network.out_packets, network.errors] {
                    prop_assert!((0.0..=MAX_PACKETS_PER_SECOND).contains(&rate));
                }
            }
        }
    }
}
