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
    use crate::readings::Told;

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
    fn a_declared_metric_is_told_of_its_group_or_of_each_instance() {
        let text = "[metric.requests]\nof = \"instance\"\n[metric.queue]\nof = \"group\"\n[remote_write]\n\
            [remote_write.metric.http_requests_total]\ngives = \"requests\"\ncounter = true\n\
            [remote_write.metric.jobs]\ngives = \"queue\"\ngroup = \"web\"\nlabels = { queue = \"a\" }\n";
        let mut remote =
            Tracks::new(Config::parse("f.toml", text).expect("right").remote_write.expect("there"), "write");
        let requests =
            |code: &str, at: i64, count: f64| series("http_requests_total", &[("code", code)], &[(at, count)]);
        let jobs = |queue: &str, at: i64, count: f64| series("jobs", &[("queue", queue)], &[(at, count)]);
        let first = vec![requests("200", 0, 50.0), requests("500", 0, 5.0), jobs("a", 0, 7.0), jobs("b", 0, 900.0)];
        assert_eq!(take(&mut remote, first).told, [], "one reading of a counter says nothing");
        let more = vec![requests("200", 15_000, 350.0), requests("500", 15_000, 35.0), jobs("a", 15_000, 12.0)];
        let told = take(&mut remote, more.clone()).told;
        let seen = |told: &[Told]| -> Vec<_> {
            let of = |told: &Told| (told.metric.clone(), told.instance.clone(), told.group.clone(), told.value);
            told.iter().map(of).collect()
        };
        let (web, instance) = (Some("web".to_owned()), Some("10.0.0.1".to_owned()));
        assert_eq!(
            seen(&told),
            [("requests".to_owned(), instance, None, 22.0), ("queue".to_owned(), None, web, 12.0)],
            "all its series add up"
        );
        assert_eq!(told[0].at_micros, (NOW + 15_000) * 1_000);
        assert_eq!(seen(&take(&mut remote, more).told), seen(&told), "sent again it says the same again");
        let again = vec![requests("200", 30_000, 10.0), requests("500", 30_000, 36.0)];
        assert_eq!(take(&mut remote, again).told, [], "a counter that began anew says nothing");
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
