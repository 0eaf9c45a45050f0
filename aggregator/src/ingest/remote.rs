//! What a Prometheus sends (remote write 1.0).

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::mapped::{Counts, Point, Series};

/// `prometheus.WriteRequest`; what else is in it is not ours.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Value {
    #[prost(double, tag = "1")]
    pub value: f64,
    /// ms since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

impl Series for &TimeSeries {
    fn name(&self) -> Option<&str> {
        self.labels.iter().find(|label| label.name == "__name__").map(|label| label.value.as_str())
    }

    fn label(&self, name: &str) -> Option<Cow<'_, str>> {
        self.labels.iter().find(|label| label.name == name).map(|label| Cow::Borrowed(label.value.as_str()))
    }

    /// All its labels, which the protocol has sorted.
    fn identity(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        for label in &self.labels {
            (&label.name, &label.value).hash(&mut hash);
        }
        hash.finish()
    }

    fn points(&self) -> impl Iterator<Item = Point> {
        let counts = Counts::FromBeginning(None);
        self.samples.iter().map(move |sample| Point { at: sample.timestamp, value: sample.value, counts })
    }
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Id;

    use super::super::mapped::{GONE_MILLIS, Left, Taken, Tracks};
    use super::*;
    use crate::config::Config;

    const NOW: i64 = 1_800_000_000_000;

    fn remote() -> Tracks {
        let config = Config::parse("f.toml", "[remote_write]\nexporter = \"node\"\ngroup_label = \"job\"\n");
        Tracks::new(config.expect("right").remote_write.expect("there"), "write")
    }

    fn series(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
        let own = [("__name__", name), ("instance", "10.0.0.1:9100"), ("job", "web")];
        let label = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
        TimeSeries {
            labels: own.iter().chain(labels).map(label).collect(),
            samples: samples.iter().map(|(at, value)| Value { timestamp: NOW + at, value: *value }).collect(),
        }
    }

    fn idle(processor: &str, samples: &[(i64, f64)]) -> TimeSeries {
        series("node_cpu_seconds_total", &[("cpu", processor), ("mode", "idle")], samples)
    }

    fn take(remote: &mut Tracks, timeseries: Vec<TimeSeries>) -> Taken {
        remote.take(&timeseries, (NOW + 600_000) * 1_000)
    }

    fn processor_use(taken: &Taken) -> Vec<f64> {
        taken.samples.iter().filter_map(|pushed| pushed.sample.cpu_percent).map(f64::round).collect()
    }

    #[test]
    fn growth_of_idle_seconds_is_use_of_all_processors() {
        let mut remote = remote();
        let first = take(&mut remote, vec![idle("0", &[(0, 100.0)]), idle("1", &[(0, 50.0)])]);
        assert!(first.samples.is_empty(), "one reading of a counter says nothing");
        assert_eq!(first.claims.values().map(Id::as_str).collect::<Vec<_>>(), ["web"]);
        // One idles half of the time, one not at all.
        let both = take(&mut remote, vec![idle("0", &[(15_000, 107.5)]), idle("1", &[(15_000, 50.0)])]);
        assert_eq!(processor_use(&both), [75.0]);
        assert_eq!(both.samples[0].instance.as_str(), "10.0.0.1");
        assert_eq!(both.samples[0].sample.covers_millis, 15_000);
        let busy = series("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "user")], &[(30_000, 5.0)]);
        let other = take(&mut remote, vec![busy, series("go_goroutines", &[], &[(0, 1.0), (1, 1.0)])]);
        assert_eq!(other.left[&Left::Unmapped], 3);
    }

    #[test]
    fn a_part_never_stands_for_all() {
        let mut remote = remote();
        take(&mut remote, vec![idle("0", &[(0, 100.0)])]);
        take(&mut remote, vec![idle("1", &[(0, 50.0)])]);
        let part = take(&mut remote, vec![idle("0", &[(15_000, 115.0)])]);
        assert!(part.samples.is_empty(), "the other one is not known yet");
        assert_eq!(processor_use(&take(&mut remote, vec![idle("1", &[(15_000, 50.0)])])), [50.0]);
        // A card without its counterpart is no network.
        let sent =
            |at: i64, value: f64| series("node_network_receive_bytes_total", &[("device", "eth0")], &[(at, value)]);
        take(&mut remote, vec![sent(0, 0.0)]);
        assert!(take(&mut remote, vec![sent(15_000, 1e6)]).samples.is_empty(), "out is not known: absent is not zero");
    }

    #[test]
    fn what_is_sent_again_makes_the_same_and_what_is_old_nothing() {
        let mut remote = remote();
        take(&mut remote, vec![idle("0", &[(0, 100.0)])]);
        let first = take(&mut remote, vec![idle("0", &[(15_000, 107.5), (30_000, 110.5)])]);
        assert_eq!(processor_use(&first), [50.0, 80.0]);
        let again = take(&mut remote, vec![idle("0", &[(30_000, 110.5)])]);
        assert_eq!(again.samples, first.samples[1..]);
        let old = take(&mut remote, vec![idle("0", &[(15_000, 107.5)])]);
        assert_eq!((old.samples.len(), old.left[&Left::OutOfOrder]), (0, 1));
        // What could not be stored is as if it had never come.
        let lost = take(&mut remote, vec![idle("0", &[(45_000, 118.0), (60_000, 118.0)]), idle("1", &[(60_000, 1.0)])]);
        remote.undo(&lost);
        let whole = take(&mut remote, vec![idle("0", &[(45_000, 118.0), (60_000, 118.0)])]);
        assert_eq!(processor_use(&whole), [50.0, 100.0]);
    }

    #[test]
    fn a_counter_that_began_anew_and_an_end_say_nothing() {
        let mut remote = remote();
        take(&mut remote, vec![idle("0", &[(0, 100.0)])]);
        assert!(take(&mut remote, vec![idle("0", &[(15_000, 3.0)])]).samples.is_empty());
        assert_eq!(processor_use(&take(&mut remote, vec![idle("0", &[(30_000, 18.0)])])), [0.0]);
        assert!(take(&mut remote, vec![idle("0", &[(45_000, f64::NAN)])]).samples.is_empty());
        remote.forget(NOW + 30_000 + GONE_MILLIS + 1);
        assert_eq!(remote.followed(), 0);
    }

    #[test]
    fn memory_is_what_is_not_available() {
        let mut remote = remote();
        let memory = |at: i64| {
            vec![
                series("node_memory_MemTotal_bytes", &[], &[(at, 8e9)]),
                series("node_memory_MemAvailable_bytes", &[], &[(at, 6e9)]),
            ]
        };
        take(&mut remote, memory(0));
        let taken = take(&mut remote, memory(15_000));
        let used = taken.samples.iter().map(|pushed| pushed.sample.memory_used_bytes).collect::<Vec<_>>();
        assert_eq!(used, [Some(2_000_000_000)]);
    }

    #[test]
    fn a_value_of_the_future_does_not_stop_those_that_come() {
        let mut remote = remote();
        take(&mut remote, vec![idle("0", &[(0, 100.0)])]);
        let ahead = take(&mut remote, vec![idle("0", &[(86_400_000, 1.0)])]);
        assert_eq!((ahead.samples.len(), ahead.left[&Left::Rejected]), (0, 1));
        assert_eq!(processor_use(&take(&mut remote, vec![idle("0", &[(15_000, 107.5)])])), [50.0]);
    }
}
