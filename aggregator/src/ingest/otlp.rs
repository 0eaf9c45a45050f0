//! What OpenTelemetry exports: `ExportMetricsServiceRequest`, as protobuf and as JSON.
//!
//! Declared by hand, and only what is ours: everything else in a request is passed over unread. What the protocol has as a choice
//! of one is declared as optional fields here, which is the same on the wire.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Deserializer};

use super::mapped::{Counts, Left, Point, Series, Taken, Tracks};

/// Attributes that one value may have in all, its scope's and its resource's included: three times what the SDKs allow each.
const MOST_ATTRIBUTES: usize = 3 * 128;
/// A value that stands for "no value here" (`DataPointFlags`).
const NO_RECORDED_VALUE: u32 = 1;
/// `AggregationTemporality`.
const DELTA: i32 = 1;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// `opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest`.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resource {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scope {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[prost(message, repeated, tag = "3")]
    #[serde(deserialize_with = "or_default")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metric {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[prost(message, optional, tag = "5")]
    pub gauge: Option<Gauge>,
    #[prost(message, optional, tag = "7")]
    pub sum: Option<Sum>,
    #[prost(message, optional, tag = "9")]
    pub histogram: Option<Uncounted>,
    #[prost(message, optional, tag = "10")]
    pub exponential_histogram: Option<Uncounted>,
    #[prost(message, optional, tag = "11")]
    pub summary: Option<Uncounted>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gauge {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub data_points: Vec<DataPoint>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sum {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub data_points: Vec<DataPoint>,
    #[prost(int32, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub aggregation_temporality: i32,
}

/// What is left out, but for how many there are.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Uncounted {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub data_points: Vec<Nothing>,
}

#[derive(Clone, Copy, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct Nothing {}

/// `NumberDataPoint`.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataPoint {
    #[prost(fixed64, tag = "2")]
    #[serde(deserialize_with = "whole")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    #[serde(deserialize_with = "whole")]
    pub time_unix_nano: u64,
    #[prost(double, optional, tag = "4")]
    #[serde(deserialize_with = "number")]
    pub as_double: Option<f64>,
    #[prost(sfixed64, optional, tag = "6")]
    #[serde(deserialize_with = "whole")]
    pub as_int: Option<i64>,
    #[prost(message, repeated, tag = "7")]
    #[serde(deserialize_with = "or_default")]
    pub attributes: Vec<Attribute>,
    #[prost(uint32, tag = "8")]
    #[serde(deserialize_with = "or_default")]
    pub flags: u32,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Any>,
}

/// `AnyValue` that is one word or number; lists and maps name nothing.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Any {
    #[prost(string, optional, tag = "1")]
    pub string_value: Option<String>,
    #[prost(bool, optional, tag = "2")]
    pub bool_value: Option<bool>,
    #[prost(int64, optional, tag = "3")]
    #[serde(deserialize_with = "whole")]
    pub int_value: Option<i64>,
    #[prost(double, optional, tag = "4")]
    #[serde(deserialize_with = "number")]
    pub double_value: Option<f64>,
}

/// `opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceResponse`.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartialSuccess {
    #[prost(int64, tag = "1")]
    #[serde(serialize_with = "as_text")]
    pub rejected_data_points: i64,
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// In JSON whole numbers of 64 bits are text.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn as_text<S: serde::Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// In protobuf's JSON a null is as if the field were not there.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A whole number of 64 bits: text, or a number as some senders have it.
trait Whole: Sized {
    fn of(text: &str) -> Option<Self>;
    fn none() -> Self;
}

impl Whole for u64 {
    fn of(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn none() -> Self {
        0
    }
}

impl Whole for Option<i64> {
    fn of(text: &str) -> Option<Self> {
        text.parse().ok().map(Some)
    }

    fn none() -> Self {
        None
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written<'a> {
    Whole(serde_json::Number),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

fn whole<'de, D: Deserializer<'de>, T: Whole>(deserializer: D) -> Result<T, D::Error> {
    let text = match Option::<Written<'_>>::deserialize(deserializer)? {
        None => return Ok(T::none()),
        Some(Written::Whole(number)) => Cow::Owned(number.to_string()),
        Some(Written::Text(text)) => text,
    };
    T::of(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no whole number of 64 bits")))
}

/// A number of JSON, or one of the words that JSON has no number for.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match Option::<Written<'_>>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Whole(number)) => Ok(number.as_f64()),
        Some(Written::Text(text)) => match &*text {
            "NaN" => Ok(Some(f64::NAN)),
            "Infinity" => Ok(Some(f64::INFINITY)),
            "-Infinity" => Ok(Some(f64::NEG_INFINITY)),
            other => match other.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Some(number)),
                _ => Err(serde::de::Error::custom(format!("{other:?} is no number"))),
            },
        },
    }
}

/// A value with all that names it.
#[derive(Debug, Clone, Copy)]
struct Named<'a> {
    metric: &'a str,
    resource: &'a [Attribute],
    scope: Option<&'a Scope>,
    point: &'a DataPoint,
    temporality: i32,
}

fn attribute<'a>(attributes: &'a [Attribute], key: &str) -> Option<Cow<'a, str>> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?;
    text(value)
}

fn text(value: &Any) -> Option<Cow<'_, str>> {
    match value {
        Any { string_value: Some(text), .. } => Some(Cow::Borrowed(text)),
        Any { bool_value: Some(truth), .. } => Some(Cow::Owned(truth.to_string())),
        Any { int_value: Some(whole), .. } => Some(Cow::Owned(whole.to_string())),
        Any { double_value: Some(number), .. } => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

impl Named<'_> {
    const fn attributes(&self) -> usize {
        let scope = match self.scope {
            Some(scope) => scope.attributes.len(),
            None => 0,
        };
        self.resource.len() + scope + self.point.attributes.len()
    }
}

impl Series for Named<'_> {
    fn name(&self) -> Option<&str> {
        Some(self.metric)
    }

    /// The nearest to the value first.
    fn label(&self, name: &str) -> Option<Cow<'_, str>> {
        let scope = self.scope.map_or(&[][..], |scope| &scope.attributes);
        [&self.point.attributes, scope, self.resource].into_iter().find_map(|attributes| attribute(attributes, name))
    }

    /// The value's own attributes, its scope and its service. Not all of the resource: an exporter that started again has other
    /// process ids and the like, and what it counted before would go on to stand beside what it counts now.
    fn identity(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        let mut own: Vec<_> =
            self.point.attributes.iter().map(|it| (&it.key, it.value.as_ref().and_then(text))).collect();
        own.sort_unstable();
        own.hash(&mut hash);
        self.metric.hash(&mut hash);
        self.scope.map(|scope| &scope.name).hash(&mut hash);
        for name in ["service.namespace", "service.name"] {
            attribute(self.resource, name).hash(&mut hash);
        }
        hash.finish()
    }

    fn points(&self) -> impl Iterator<Item = Point> {
        let DataPoint { start_time_unix_nano, time_unix_nano, as_double, as_int, flags, .. } = *self.point;
        let millis = |nanos: u64| i64::try_from(nanos / NANOS_PER_MILLI).unwrap_or(i64::MAX);
        #[allow(clippy::cast_precision_loss, reason = "counters below 2^53 are exact, above it their growth nearly is")]
        let value = as_double.or_else(|| as_int.map(|whole| whole as f64));
        let counts = match (self.temporality, millis(start_time_unix_nano)) {
            (DELTA, since) => Counts::Since(since),
            (_, 0) => Counts::FromBeginning(None),
            (_, began) => Counts::FromBeginning(Some(began)),
        };
        let value = value.filter(|_| flags & NO_RECORDED_VALUE == 0);
        value.map(|value| Point { at: millis(time_unix_nano), value, counts }).into_iter()
    }
}

/// Takes a request in. `now` in µs since the epoch.
pub fn take(tracks: &mut Tracks, request: &ExportRequest, now: i64) -> Taken {
    let (mut named, mut unusable, mut unmapped) = (Vec::new(), 0, 0);
    for of_resource in &request.resource_metrics {
        let resource = of_resource.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
        for of_scope in &of_resource.scope_metrics {
            let scope = of_scope.scope.as_ref();
            for metric in &of_scope.metrics {
                let uncounted = [&metric.histogram, &metric.exponential_histogram, &metric.summary];
                let uncounted: usize = uncounted.into_iter().flatten().map(|it| it.data_points.len()).sum();
                let gauge = metric.gauge.iter().flat_map(|gauge| gauge.data_points.iter().map(|point| (point, 0)));
                let sum = metric
                    .sum
                    .iter()
                    .flat_map(|sum| sum.data_points.iter().map(|point| (point, sum.aggregation_temporality)));
                if !tracks.knows(&metric.name) {
                    unmapped += uncounted + gauge.count() + sum.count();
                    continue;
                }
                unusable += uncounted;
                for (point, temporality) in gauge.chain(sum) {
                    let one = Named { metric: &metric.name, resource, scope, point, temporality };
                    if one.attributes() > MOST_ATTRIBUTES {
                        unusable += 1;
                    } else {
                        named.push(one);
                    }
                }
            }
        }
    }
    let mut taken = tracks.take(named, now);
    taken.leave(Left::Unusable, unusable as u64);
    taken.leave(Left::Unmapped, unmapped as u64);
    taken
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;

    const NOW: u64 = 1_800_000_000_000;

    fn tracks(more: &str) -> Tracks {
        let text = format!("[otlp]\nexporter = \"hostmetrics\"\ngroup_label = \"service.name\"\n{more}");
        Tracks::new(Config::parse("f.toml", &text).expect("right").otlp.expect("there"), "otlp")
    }

    fn point(at: u64, value: f64, labels: &[(&str, &str)]) -> Value {
        let attributes: Vec<Value> =
            labels.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect();
        json!({"timeUnixNano": ((NOW + at) * 1_000_000).to_string(), "startTimeUnixNano": "1", "asDouble": value,
            "attributes": attributes})
    }

    fn sum(name: &str, temporality: i32, points: &[Value]) -> Value {
        json!({"name": name, "sum": {"dataPoints": points, "aggregationTemporality": temporality, "isMonotonic": true}})
    }

    fn sent(resource: &[(&str, &str)], metrics: &[Value]) -> ExportRequest {
        let attributes: Vec<Value> =
            resource.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect();
        let request = json!({"resourceMetrics": [{"resource": {"attributes": attributes},
            "scopeMetrics": [{"scope": {"name": "s"}, "metrics": metrics}]}]});
        serde_json::from_value(request).expect("right")
    }

    const HOST: &[(&str, &str)] = &[("host.id", "i-1"), ("host.name", "ip-10-0-0-1"), ("service.name", "web")];

    fn take_from(tracks: &mut Tracks, metrics: &[Value]) -> Taken {
        take(tracks, &sent(HOST, metrics), ((NOW + 600_000) * 1_000).cast_signed())
    }

    fn idle(at: u64, cpu: &str, value: f64) -> Value {
        point(at, value, &[("cpu", cpu), ("state", "idle")])
    }

    fn processor_use(taken: &Taken) -> Vec<f64> {
        taken.samples.iter().filter_map(|pushed| pushed.sample.cpu_percent).map(f64::round).collect()
    }

    #[test]
    fn what_the_hostmetrics_receiver_sends_is_known() {
        let mut tracks = tracks("");
        let all = |at: u64| {
            let seconds = at as f64 / 1_000.0;
            let memory = |state: &str, bytes: f64| point(at, bytes, &[("state", state)]);
            let traffic = |direction: &str, device: &str, rate: f64| {
                point(at, rate * seconds, &[("device", device), ("direction", direction)])
            };
            let network = |scale: f64| {
                [
                    traffic("receive", "eth0", 100.0 * scale),
                    traffic("transmit", "eth0", 50.0 * scale),
                    traffic("receive", "lo", 7e9),
                ]
            };
            [
                sum(
                    "system.cpu.time",
                    2,
                    &[
                        idle(at, "cpu0", 0.5 * seconds),
                        idle(at, "cpu1", seconds),
                        point(at, 0.1 * seconds, &[("cpu", "cpu0"), ("state", "steal")]),
                        point(at, 0.4 * seconds, &[("cpu", "cpu0"), ("state", "user")]),
                    ],
                ),
                sum(
                    "system.memory.usage",
                    2,
                    &[
                        memory("used", 2e9),
                        memory("free", 1e9),
                        memory("buffered", 1e9),
                        memory("cached", 4e9),
                        // They are in the others already.
                        memory("slab_reclaimable", 3e9),
                        memory("slab_unreclaimable", 3e9),
                    ],
                ),
                sum("system.network.io", 2, &network(10.0)),
                sum("system.network.packets", 2, &network(1.0)),
                sum("system.network.dropped", 2, &network(1.0)),
            ]
        };
        assert!(take_from(&mut tracks, &all(1_000)).samples.is_empty(), "one reading of a counter says nothing");
        let taken = take_from(&mut tracks, &all(61_000));
        assert_eq!(processor_use(&taken), [25.0]);
        let of = |pick: &dyn Fn(&foreshadow_proto::convert::Sample) -> Option<f64>| {
            taken.samples.iter().find_map(|pushed| pick(&pushed.sample)).map(f64::round)
        };
        assert_eq!(of(&|sample| sample.cpu_steal_percent), Some(10.0));
        assert_eq!(of(&|sample| sample.memory_used_bytes.map(|bytes| bytes as f64)), Some(2e9));
        assert_eq!(of(&|sample| sample.memory_total_bytes.map(|bytes| bytes as f64)), Some(8e9));
        assert_eq!(of(&|sample| sample.network.map(|network| network.in_bytes)), Some(1_000.0));
        assert_eq!(of(&|sample| sample.network.map(|network| network.out_packets)), Some(50.0));
        assert_eq!(taken.samples.len(), 3);
        assert!(
            taken
                .samples
                .iter()
                .all(|pushed| pushed.instance.as_str() == "i-1" && pushed.sample.covers_millis == 60_000)
        );
        assert_eq!(taken.claims.values().map(|group| group.as_str()).collect::<Vec<_>>(), ["web"]);
        // One processor's user time, two slabs, lo twice, and all three that were dropped.
        assert_eq!(taken.left.into_iter().collect::<Vec<_>>(), [(Left::Unmapped, 1 + 2 + 2 + 3)]);
    }

    #[test]
    fn deltas_are_growth_over_their_own_time() {
        let mut tracks = tracks("");
        let delta = |from: u64, to: u64, cpu: &str, value: f64| {
            let mut point = idle(to, cpu, value);
            point["startTimeUnixNano"] = ((NOW + from) * 1_000_000).to_string().into();
            sum("system.cpu.time", 1, &[point])
        };
        // The first one says all that there is to say already, and what is missing between two is nobody's.
        assert_eq!(processor_use(&take_from(&mut tracks, &[delta(0, 10_000, "cpu0", 5.0)])), [50.0]);
        assert_eq!(processor_use(&take_from(&mut tracks, &[delta(50_000, 60_000, "cpu0", 8.0)])), [20.0]);
        // A time without its beginning is none.
        for from in [60_000, 70_000] {
            let taken = take_from(&mut tracks, &[delta(70_000, 70_000, "cpu0", 5.0), delta(from, 60_000, "cpu0", 5.0)]);
            assert!(taken.samples.len() <= 1 && taken.left[&Left::Unusable] == 1, "{taken:?}");
        }
        // What came to a level says nothing of how high it is.
        let memory = sum("system.memory.usage", 1, &[point(0, 1.0, &[("state", "used")])]);
        assert_eq!(take_from(&mut tracks, &[memory]).left[&Left::Unusable], 1, "one, though it is of two of ours");
    }

    #[test]
    fn a_counter_that_began_anew_says_nothing_even_if_it_came_further() {
        let mut tracks = tracks("");
        let began = |began: u64, at: u64, value: f64| {
            let mut point = idle(at, "cpu0", value);
            point["startTimeUnixNano"] = ((NOW + began) * 1_000_000).to_string().into();
            sum("system.cpu.time", 2, &[point])
        };
        take_from(&mut tracks, &[began(0, 10_000, 1.0)]);
        assert_eq!(processor_use(&take_from(&mut tracks, &[began(0, 20_000, 6.0)])), [50.0]);
        assert!(take_from(&mut tracks, &[began(25_000, 40_000, 14.0)]).samples.is_empty());
        assert_eq!(processor_use(&take_from(&mut tracks, &[began(25_000, 50_000, 22.0)])), [20.0]);
    }

    #[test]
    fn names_fall_back_and_what_cannot_be_used_is_counted() {
        let mut tracks = tracks("");
        let metric = [sum("system.cpu.time", 2, &[idle(0, "cpu0", 1.0)])];
        let mut of =
            |resource: &[(&str, &str)]| take(&mut tracks, &sent(resource, &metric), (NOW * 1_000).cast_signed());
        assert_eq!(of(&[("service.name", "web")]).left[&Left::Unnamed], 1);
        let claims = of(&[("service.name", "web"), ("host.name", "h-1")]).claims;
        assert_eq!(claims.keys().map(|instance| instance.as_str()).collect::<Vec<_>>(), ["h-1"]);
        let histogram = json!({"name": "system.cpu.time", "histogram": {"dataPoints": [{"count": "3", "bucketCounts": ["1"]}, {}]}});
        assert_eq!(take_from(&mut tracks, &[histogram]).left[&Left::Unusable], 2);
        let many: Vec<(String, String)> = (0..400).map(|at| (format!("k{at}"), String::new())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let many = sum("system.cpu.time", 2, &[point(0, 1.0, &many)]);
        assert_eq!(take_from(&mut tracks, &[many]).left[&Left::Unusable], 1);
        // Without a time it would be the beginning of all growth.
        let mut timeless = idle(0, "cpu0", 1.0);
        timeless["timeUnixNano"] = Value::Null;
        let taken = take_from(&mut tracks, &[sum("system.cpu.time", 2, &[timeless, idle(20_000, "cpu0", 1.0)])]);
        assert!(taken.left[&Left::Rejected] == 1 && taken.samples.is_empty(), "{taken:?}");
        // "No value here" is none, and is not left out either.
        let mut gone = idle(30_000, "cpu0", 1.0);
        gone["flags"] = 1.into();
        let taken = take_from(&mut tracks, &[sum("system.cpu.time", 2, &[gone])]);
        assert!(taken.left.is_empty() && taken.samples.is_empty(), "{taken:?}");
    }

    #[test]
    fn an_exporter_that_starts_again_goes_on_with_its_series() {
        let mut tracks = tracks("");
        let mut of = |process: &str, at: u64, value: f64| {
            let resource = [HOST, &[("process.pid", process)]].concat();
            let request = sent(&resource, &[sum("system.cpu.time", 2, &[idle(at, "cpu0", value)])]);
            take(&mut tracks, &request, ((NOW + 600_000) * 1_000).cast_signed())
        };
        of("1", 0, 0.0);
        assert_eq!(processor_use(&of("1", 10_000, 5.0)), [50.0]);
        assert_eq!(processor_use(&of("2", 20_000, 7.0)), [80.0]);
    }

    #[test]
    fn json_has_rules_of_its_own() {
        let read = |text: &str| serde_json::from_str::<ExportRequest>(text).map_err(|error| error.to_string());
        let of = |point: &str| {
            let text = format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"x","sum":{{"aggregationTemporality":2,"dataPoints":[{point}]}}}}]}}]}}]}}"#
            );
            read(&text).map(|request| {
                let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
                let sum = metric.sum.as_ref().expect("a sum");
                (sum.data_points[0].clone(), sum.aggregation_temporality)
            })
        };
        let (point, temporality) = of(r#"{"asInt":"-9007199254740993","timeUnixNano":"1800000000000000000","startTimeUnixNano":null,
            "exemplars":[{"traceId":"5b8efff798038103d269b633813fc60c"}],"attributes":[{"key":"a","value":{"intValue":"7"}},
            {"key":"b","value":{"arrayValue":{"values":[]}}},{"key":"c","value":{"boolValue":true}}]}"#).expect("right");
        assert_eq!(
            (point.as_int, point.time_unix_nano, point.start_time_unix_nano, temporality),
            (Some(-9_007_199_254_740_993), 1_800_000_000_000_000_000, 0, 2)
        );
        let texts: Vec<_> = point.attributes.iter().map(|it| it.value.as_ref().and_then(text)).collect();
        assert_eq!(texts, [Some("7".into()), None, Some("true".into())]);
        assert_eq!(of(r#"{"asInt":5,"timeUnixNano":7}"#).expect("right").0.as_int, Some(5));
        assert!(of(r#"{"asDouble":"NaN"}"#).expect("right").0.as_double.is_some_and(f64::is_nan));
        for (text, said) in [
            (r#"{"asInt":"x"}"#, "\"x\" is no whole number"),
            (r#"{"asInt":"9223372036854775808"}"#, "no whole number"),
            (r#"{"timeUnixNano":"-1"}"#, "no whole number"),
            (r#"{"asDouble":"fast"}"#, "\"fast\" is no number"),
        ] {
            let error = of(text).expect_err(text);
            assert!(error.contains(said) && error.contains("line 1"), "{text}: {error}");
        }
        // And the same as protobuf.
        let request = sent(HOST, &[sum("system.cpu.time", 2, &[idle(0, "cpu0", 1.0)])]);
        assert_eq!(ExportRequest::decode(request.encode_to_vec().as_slice()), Ok(request));
        let partial = PartialSuccess { rejected_data_points: 3, error_message: "x".to_owned() };
        let answer = serde_json::to_value(ExportResponse { partial_success: Some(partial) }).expect("JSON");
        assert_eq!(answer, json!({"partialSuccess": {"rejectedDataPoints": "3", "errorMessage": "x"}}));
    }
}
