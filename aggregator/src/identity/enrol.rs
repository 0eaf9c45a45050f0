//! `foreshadow.v1.Enrolment`: an agent's first certificate, and every one after it.

use std::sync::Arc;

use foreshadow_proto::convert::Id;
use foreshadow_proto::v1::{self, enrolment_server};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::authority::Authority;
use super::enrolments::{Claim, EnrolError, Enrolments};
use super::request;
use crate::clock::Clock;
use crate::observe::{Hint, Timeline};

/// Requests at a time, of everybody: nobody has proven anything yet. An agent that is turned away comes again.
const AT_ONCE: usize = 32;
/// A certificate is renewed after this share of its time.
const RENEW_AFTER: (u32, u32) = (2, 3);

/// Answers enrolments. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EnrolService {
    /// `None` where nothing is encrypted: without TLS no certificate would ever be seen.
    authority: Option<Authority>,
    enrolments: Enrolments,
    timeline: Timeline,
    hint: Hint,
    clock: Arc<dyn Clock>,
    slots: Arc<Semaphore>,
}

impl EnrolService {
    pub fn new(
        authority: Option<Authority>,
        enrolments: Enrolments,
        timeline: Timeline,
        hint: Hint,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { authority, enrolments, timeline, hint, clock, slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The authority's certificate, PEM; `None` without TLS.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::pem)
    }

    fn refusal(&self, error: &EnrolError) -> Status {
        let text = error.to_string();
        match error {
            EnrolError::SecondClaimant => Status::already_exists(text),
            EnrolError::Revoked | EnrolError::Token => Status::permission_denied(text),
            EnrolError::NotMember(..) => {
                // A machine that just started is not in the picture yet: it is taken anew, and the agent asks again.
                self.hint.give();
                Status::failed_precondition(text)
            }
            EnrolError::TooSoon(_) => Status::resource_exhausted(text),
            EnrolError::Authority(_) | EnrolError::Database(_) => {
                tracing::error!(error = text, "no certificate could be issued");
                Status::unavailable("no certificate could be issued; try again")
            }
        }
    }
}

#[tonic::async_trait]
impl enrolment_server::Enrolment for EnrolService {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolResponse>, Status> {
        let Some(authority) = &self.authority else {
            return Err(Status::failed_precondition("certificates need TLS: listen.certificate and listen.key"));
        };
        let busy = |_| Status::resource_exhausted("many agents enrol now; try again in a few seconds");
        let _slot = self.slots.try_acquire().map_err(busy)?;
        let wire = request.into_inner();
        let invalid = |error: &dyn std::error::Error| Status::invalid_argument(error.to_string());
        let instance = Id::new("instance_id", &wire.instance_id).map_err(|error| invalid(&error))?;
        let signing = request::Request::read(&wire.signing_request).map_err(|error| invalid(&error))?;
        let claim = Claim {
            member_of: self.timeline.member_of(&instance),
            instance: &instance,
            request: &signing,
            join_token: wire.join_token.trim(),
            random: crate::supervise::random(),
        };
        let granted = self.enrolments.enrol(authority, claim, self.clock.wall_micros()).await;
        let granted = granted.map_err(|error| {
            tracing::warn!(%instance, %error, "no certificate");
            metrics::counter!("foreshadow_enrolments_refused_total").increment(1);
            self.refusal(&error)
        })?;
        Ok(Response::new(v1::EnrolResponse {
            certificates: granted.certificates,
            valid_seconds: granted.valid_seconds,
            renew_seconds: granted.valid_seconds / RENEW_AFTER.1 * RENEW_AFTER.0,
        }))
    }
}
