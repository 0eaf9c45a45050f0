//! KEDA's external scaler: one metric, the number of instances, and a target of one each, so that the autoscaler has as many
//! replicas as the plan wants.
//!
//! What cannot be said now is answered by what was said last; after that it is an error, on which the autoscaler keeps what it
//! has. The metric's description never fails: without it KEDA would drop the other triggers of the object as well.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foreshadow_proto::convert::{self, Id};
use foreshadow_proto::externalscaler::external_scaler_server::ExternalScaler;
use foreshadow_proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use futures::{Stream, StreamExt as _};
use planner::policy::Metric;
use tonic::{Request, Response, Status};

use super::ApiState;
use crate::clock::Clock;
use crate::identity::{Caller, Presented, Role};
use crate::rounds::{Board, GroupReport};

/// The one metric.
const METRIC: &str = "instances";
/// An answer from a plan older than this is no answer, seconds: then the autoscaler keeps what it has.
const LAST_GOOD_SECONDS: i64 = 600;
/// What is pushed is looked at this often; a round takes ten seconds.
const PUSHED_EVERY: Duration = Duration::from_secs(5);
/// Answers that are remembered: more differ only if somebody plays.
const MOST_REMEMBERED: usize = 10_000;

/// Answers from the board.
#[derive(Debug, Clone)]
pub struct ScalerService {
    state: ApiState,
    answers: Answers,
}

/// What a group needs, and what was said of it last.
#[derive(Debug, Clone)]
struct Answers {
    board: Board,
    clock: Arc<dyn Clock>,
    /// What was said last, and when the plan behind it was made, seconds since boot.
    last: Arc<Mutex<BTreeMap<Asked, (u32, i64)>>>,
}

/// What a trigger's metadata asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    group: Id,
    metric: Option<Metric>,
    /// In thousandths.
    confidence: Option<u32>,
}

impl Asked {
    fn read(metadata: &HashMap<String, String>) -> Result<Self, Status> {
        let wrong = |key: &str, problem: &str| Status::invalid_argument(format!("metadata.{key}: {problem}"));
        let text = |key: &str| metadata.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
        let name = text("group").ok_or_else(|| wrong("group", "is missing: which group's need is it?"))?;
        let group = Id::new("group", name).map_err(|error| wrong("group", &error.to_string()))?;
        let metric = text("metric").map(|name| name.parse().map_err(|problem: String| wrong("metric", &problem)));
        if text("confidence").is_some() && text("quantile").is_some() {
            return Err(wrong("quantile", "is another name of confidence: leave one of them out"));
        }
        let confidence = text("confidence").or_else(|| text("quantile")).map(|text| {
            let number = text.parse::<f64>().map_err(|_| format!("{text:?} is no number"));
            let checked = number.and_then(convert::confidence);
            checked.map_err(|problem| wrong("confidence", &problem))
        });
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0.5 to 0.99")]
        let confidence = confidence.transpose()?.map(|confidence| (confidence * 1_000.0).round() as u32);
        Ok(Self { group, metric: metric.transpose()?, confidence })
    }
}

impl ScalerService {
    pub fn new(state: ApiState) -> Self {
        let answers = Answers::new(state.board.clone(), state.clock.clone());
        Self { state, answers }
    }

    /// Lets a viewer in: by the header, or by a token in the trigger's metadata, for KEDA sends no header of its own.
    async fn admit(&self, known: Option<&Caller>, metadata: &HashMap<String, String>) -> Result<(), Status> {
        if let Some(caller) = known {
            return enough(caller);
        }
        let token = metadata.get("tokenFromEnv").or_else(|| metadata.get("token"));
        let header = token.map(|token| format!("Bearer {}", token.trim()));
        let now = self.state.clock.wall_micros();
        match self.state.callers.caller(Presented::default(), header.as_deref(), now).await {
            Ok(caller) => enough(&caller),
            Err(why) => {
                Err(Status::unauthenticated(format!("{why}: metadata.tokenFromEnv names the variable that has it")))
            }
        }
    }
}

impl Answers {
    fn new(board: Board, clock: Arc<dyn Clock>) -> Self {
        Self { board, clock, last: Arc::default() }
    }

    /// Instances there should be; what was said last where nothing can be said now.
    fn wanted(&self, asked: &Asked) -> Result<u32, Status> {
        let now = self.clock.now();
        let report = self.board.report(&asked.group);
        let age = report.as_deref().and_then(made_at).map(|at| now.wall - at);
        let fresh = report.as_deref().zip(age.filter(|age| *age <= LAST_GOOD_SECONDS));
        let confidence = asked.confidence.map(|thousandths| f64::from(thousandths) / 1_000.0);
        let wanted = fresh.and_then(|(report, age)| Some((report.evidence.scaled_to(asked.metric, confidence)?, age)));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((wanted, age)) = wanted {
            if last.len() >= MOST_REMEMBERED {
                last.clear();
            }
            // As old as its plan: what is asked often gets no younger by it.
            last.insert(asked.clone(), (wanted, now.boot - age.max(0)));
            return Ok(wanted);
        }
        if let Some((wanted, at)) = last.get(asked)
            && now.boot - at <= LAST_GOOD_SECONDS
        {
            return Ok(*wanted);
        }
        last.remove(asked);
        let why = match report {
            None => format!("group {} is not known; GET /groups lists the known ones", asked.group),
            Some(_) => format!("nothing is known of what {} needs now: foreshadow explain {0} says why", asked.group),
        };
        Err(Status::unavailable(why))
    }

    /// Only a need of nobody, known for certain, is inactive: any doubt keeps what is there.
    fn is_active(&self, asked: &Asked) -> bool {
        self.wanted(asked).map_or(true, |wanted| wanted > 0)
    }
}

fn enough(caller: &Caller) -> Result<(), Status> {
    if caller.open || (caller.role != Role::Agent && caller.role >= Role::Viewer) {
        return Ok(());
    }
    Err(Status::permission_denied(format!("the role {} may not ask what a group needs", caller.role)))
}

fn made_at(report: &GroupReport) -> Option<i64> {
    report.plan.as_deref()?.get("made_at")?.as_i64()
}

/// Both forms are filled: older KEDA reads whole numbers alone.
#[allow(deprecated, reason = "older KEDA reads it")]
fn spec() -> GetMetricSpecResponse {
    let spec = MetricSpec { metric_name: METRIC.to_owned(), target_size: 1, target_size_float: 1.0 };
    GetMetricSpecResponse { metric_specs: vec![spec] }
}

type Pushed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalScaler for ScalerService {
    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        let metadata = &request.get_ref().scaler_metadata;
        self.admit(request.extensions().get(), metadata).await?;
        let result = self.answers.is_active(&Asked::read(metadata)?);
        Ok(Response::new(IsActiveResponse { result }))
    }

    type StreamIsActiveStream = Pushed<IsActiveResponse>;

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let metadata = &request.get_ref().scaler_metadata;
        self.admit(request.extensions().get(), metadata).await?;
        let asked = Asked::read(metadata)?;
        let (service, metadata, known) = (self.clone(), metadata.clone(), request.extensions().get().cloned());
        let begun = Some((tokio::time::interval(PUSHED_EVERY), None));
        let changes = futures::stream::unfold(begun, move |state| {
            let (service, asked, metadata, known) = (service.clone(), asked.clone(), metadata.clone(), known.clone());
            async move {
                let (mut looks, last) = state?;
                loop {
                    looks.tick().await;
                    // A token in the metadata may be over by now; of one in the header the routes know.
                    if let Err(refused) = service.admit(known.as_ref(), &metadata).await {
                        return Some((Err(refused), None));
                    }
                    let result = service.answers.is_active(&asked);
                    if last != Some(result) {
                        return Some((Ok(IsActiveResponse { result }), Some((looks, Some(result)))));
                    }
                }
            }
        });
        let until = self.state.shutdown.clone();
        Ok(Response::new(Box::pin(changes.take_until(async move { until.cancelled().await }))))
    }

    /// The same for everybody and every group: there is nothing in it to be let in to, or to fail.
    async fn get_metric_spec(
        &self,
        _request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        Ok(Response::new(spec()))
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let object = request.get_ref().scaled_object_ref.as_ref();
        let object = object.ok_or_else(|| Status::invalid_argument("scaledObjectRef: is missing"))?;
        self.admit(request.extensions().get(), &object.scaler_metadata).await?;
        let wanted = self.answers.wanted(&Asked::read(&object.scaler_metadata)?)?;
        #[allow(deprecated, reason = "older KEDA reads it")]
        let value = MetricValue {
            metric_name: METRIC.to_owned(),
            metric_value: i64::from(wanted),
            metric_value_float: f64::from(wanted),
        };
        Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
    }

    type StreamMetricSpecStream = Pushed<GetMetricSpecResponse>;

    /// Once at once; it never changes, so the stream stays open and says nothing more.
    async fn stream_metric_spec(
        &self,
        _request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        let once = futures::stream::once(std::future::ready(Ok(spec()))).chain(futures::stream::pending());
        let until = self.state.shutdown.clone();
        Ok(Response::new(Box::pin(once.take_until(async move { until.cancelled().await }))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use foreshadow_proto::v1;
    use serde_json::json;
    use tonic::Code;

    use super::*;
    use crate::clock::hand::Hand;
    use crate::rounds::{AnswersCapacity, PredictError};

    /// So many are needed, or nobody knows.
    #[derive(Debug)]
    struct Needed(Option<u32>);

    impl AnswersCapacity for Needed {
        fn capacity_at(&self, _: Option<i64>, _: Option<f64>) -> Result<v1::PredictCapacityResponse, PredictError> {
            Err(PredictError::NoGroup)
        }

        fn scaled_to(&self, _: Option<Metric>, _: Option<f64>) -> Option<u32> {
            self.0
        }
    }

    /// One group, `web`, and who asks for it.
    struct World {
        clock: Arc<Hand>,
        answers: Answers,
        asked: Asked,
    }

    impl World {
        fn new() -> Self {
            let clock = Arc::new(Hand::default());
            let answers = Answers::new(Board::default(), clock.clone());
            Self { clock, answers, asked: asked(&[("group", "web")]).expect("read") }
        }

        fn pass(&self, seconds: i64) {
            self.clock.passed.fetch_add(seconds, Ordering::Relaxed);
        }

        /// A round is made now.
        fn round(&self, needed: Option<u32>) {
            let report = GroupReport {
                summary: v1::Group { name: "web".to_owned(), ..v1::Group::default() },
                forecasts: [].into(),
                leads: (0, 0),
                measured_events: Vec::new(),
                metrics: [].into(),
                newest_minute: None,
                bounds: (0, 40),
                confidence: 0.9,
                plan: Some(Arc::new(json!({ "made_at": self.clock.wall_seconds() }))),
                evidence: Arc::new(Needed(needed)),
            };
            self.answers.board.publish(&self.asked.group, report);
        }

        /// The number, or the error's words.
        fn told(&self) -> Result<u32, String> {
            self.answers.wanted(&self.asked).map_err(|status| {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                status.message().to_owned()
            })
        }

        fn is_active(&self) -> bool {
            self.answers.is_active(&self.asked)
        }
    }

    const UNKNOWN: &str = "nothing is known of what web needs now: foreshadow explain web says why";
    const NO_GROUP: &str = "group web is not known; GET /groups lists the known ones";

    #[test]
    fn what_was_said_last_stands_for_ten_minutes_and_then_it_is_an_error() {
        let world = World::new();
        assert_eq!(world.told(), Err(NO_GROUP.to_owned()), "nothing was said yet");
        world.round(Some(7));
        assert_eq!(world.told(), Ok(7));
        // Rounds go on, and none of them has evidence.
        for _ in 0..60 {
            world.pass(10);
            world.round(None);
            assert_eq!(world.told(), Ok(7));
        }
        let other = Asked { metric: Some(Metric::Cpu), ..world.asked.clone() };
        assert!(world.answers.wanted(&other).is_err(), "what was never said is not answered for another question");
        world.pass(1);
        assert_eq!(world.told(), Err(UNKNOWN.to_owned()), "601 s after the plan");
        world.clock.passed.fetch_sub(1, Ordering::Relaxed);
        assert_eq!(world.told(), Err(UNKNOWN.to_owned()), "what ran out is forgotten");
        world.round(Some(3));
        assert_eq!(world.told(), Ok(3));

        // The group goes, and comes back unknown.
        world.answers.board.withdraw(&world.asked.group);
        world.pass(600);
        assert_eq!(world.told(), Ok(3));
        world.pass(1);
        assert_eq!(world.told(), Err(NO_GROUP.to_owned()));
    }

    #[test]
    fn an_old_plan_answers_for_ten_minutes_however_often_it_is_asked() {
        let world = World::new();
        world.round(Some(7));
        for _ in 0..=60 {
            assert_eq!(world.told(), Ok(7));
            world.pass(10);
        }
        assert_eq!(world.told(), Err(UNKNOWN.to_owned()), "610 s after the plan");
        // A wall clock that jumps makes the plan old, and not what was said of it.
        world.round(Some(8));
        assert_eq!(world.told(), Ok(8));
        world.clock.jumped.store(86_400, Ordering::Relaxed);
        world.pass(600);
        assert_eq!(world.told(), Ok(8));
        world.pass(1);
        assert_eq!(world.told(), Err(UNKNOWN.to_owned()));
    }

    #[test]
    fn only_a_certain_need_of_nobody_is_inactive() {
        let world = World::new();
        assert!(world.is_active(), "the group is not known");
        world.round(None);
        assert!(world.is_active(), "its need is not known");
        world.round(Some(0));
        assert!(!world.is_active());
        world.round(Some(1));
        assert!(world.is_active());
        world.round(Some(0));
        assert!(!world.is_active());
        world.round(None);
        world.pass(600);
        assert!(!world.is_active(), "it was said last");
        world.pass(1);
        assert!(world.is_active(), "not knowing wakes it");
    }

    fn asked(pairs: &[(&str, &str)]) -> Result<Asked, String> {
        let metadata = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Asked::read(&metadata).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn metadata_is_read_and_what_is_wrong_is_named() {
        let read = asked(&[("scalerAddress", "x:1"), ("group", " web "), ("metric", "cpu"), ("quantile", "0.95")]);
        let read = read.expect("read");
        assert_eq!((read.group.as_str(), read.metric, read.confidence), ("web", Some(Metric::Cpu), Some(950)));
        assert!(asked(&[]).expect_err("refused").starts_with("metadata.group: is missing"));
        assert!(asked(&[("group", "a b")]).expect_err("refused").starts_with("metadata.group"));
        assert!(asked(&[("group", "web"), ("metric", "disk")]).expect_err("refused").contains("cpu"));
        let jobs = Metric::declare("jobs_of_keda").expect("a name");
        let read = asked(&[("group", "web"), ("metric", "jobs_of_keda")]).expect("read");
        assert_eq!(read.metric, Some(jobs), "one of the user's own, as it was declared");
        let both = asked(&[("group", "web"), ("confidence", "0.9"), ("quantile", "0.95")]).expect_err("refused");
        assert!(both.starts_with("metadata.quantile: is another name of confidence"), "{both}");
        for confidence in ["much", "0.2", "1"] {
            let refused = asked(&[("group", "web"), ("confidence", confidence)]).expect_err("refused");
            assert!(refused.starts_with("metadata.confidence"), "{refused}");
        }
    }
}
