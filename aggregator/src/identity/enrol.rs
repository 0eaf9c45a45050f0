//! `foreshadow.v1.Enrolment`: an agent's first certificate, and every one after it.

use std::sync::Arc;

use foreshadow_proto::convert::Id;
use foreshadow_proto::v1::{self, enrolment_server};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::authority::Authority;
use super::enrolments::{Claim, EnrolError, Enrolments, Evidence};
use super::instance_document::{DocumentError, InstanceDocuments};
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
    /// `None` where join tokens alone let anybody in.
    documents: Option<Arc<InstanceDocuments>>,
    enrolments: Enrolments,
    timeline: Timeline,
    hint: Hint,
    clock: Arc<dyn Clock>,
    slots: Arc<Semaphore>,
}

impl EnrolService {
    pub fn new(
        authority: Option<Authority>,
        documents: Option<InstanceDocuments>,
        enrolments: Enrolments,
        timeline: Timeline,
        hint: Hint,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let documents = documents.map(Arc::new);
        Self { authority, documents, enrolments, timeline, hint, clock, slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The authority's certificate, PEM; `None` without TLS.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::pem)
    }

    fn refusal(&self, error: &EnrolError) -> Status {
        let text = error.to_string();
        match error {
            EnrolError::SecondClaimant => Status::already_exists(text),
            EnrolError::Revoked | EnrolError::Token(_) => Status::permission_denied(text),
            EnrolError::NotMember(..) | EnrolError::NowhereKnown(_) => {
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
        let now = self.clock.wall_micros();
        let refused = |error: &dyn std::error::Error| {
            tracing::warn!(%instance, error = %error, "no certificate");
            metrics::counter!("foreshadow_enrolments_refused_total").increment(1);
        };
        let (evidence, member_of) = match wire.instance_document.as_slice() {
            [] => (Evidence::JoinToken(wire.join_token.trim()), self.timeline.member_of(&instance)),
            _ if !wire.join_token.is_empty() => {
                return Err(Status::invalid_argument("a join token or an instance identity document, not both"));
            }
            document => {
                let checked = self.documents.as_ref().ok_or(DocumentError::NotTaken);
                let checked = checked.and_then(|documents| documents.check(document, &instance, now));
                let attested = checked.map_err(|error| {
                    refused(&error);
                    // One text for every reason: who guesses learns nothing.
                    Status::permission_denied("the instance identity document is not accepted here; the log says why")
                })?;
                // Not one that left long ago: a document outlives its instance.
                (Evidence::Document(attested), self.timeline.present_in(&instance))
            }
        };
        let random = crate::supervise::random();
        let claim = Claim { instance: &instance, request: &signing, evidence, member_of, random };
        let granted = self.enrolments.enrol(authority, claim, now).await;
        let granted = granted.map_err(|error| {
            match &error {
                EnrolError::Token(fault) => refused(fault),
                error => refused(error),
            }
            self.refusal(&error)
        })?;
        Ok(Response::new(v1::EnrolResponse {
            certificates: granted.certificates,
            valid_seconds: granted.valid_seconds,
            renew_seconds: granted.valid_seconds / RENEW_AFTER.1 * RENEW_AFTER.0,
        }))
    }
}
