//! Whoever is shown a stream is asked for again and again: it lasts no longer than the right to see it.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures::{Stream, StreamExt as _};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::Frame;
use tonic::Status;

use super::ApiState;
use crate::identity::{Caller, Presented, Role};

/// A token that was revoked, or has expired, shows nothing more after this. It is one hash and one look into memory a stream.
const ASKED_EVERY: Duration = Duration::from_secs(1);
const EVENTS: &str = "text/event-stream";

/// How a caller was known.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub presented: Presented,
    pub authorization: Option<String>,
}

impl Shown {
    /// The caller that is known by it now, or in words why there is none.
    pub async fn caller(&self, state: &ApiState) -> Result<Caller, String> {
        state.callers.caller(self.presented, self.authorization.as_deref(), state.clock.wall_micros()).await
    }
}

/// An answer that is a stream ends when its caller is not who it was when it began: the token is revoked or has expired, or its
/// role is another. Agents' own streams end by their certificates, within the ingest.
pub(super) fn while_known(
    response: Response,
    caller: Caller,
    shown: Shown,
    state: ApiState,
    is_grpc: bool,
) -> Response {
    let of_events =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(EVENTS.as_bytes()));
    if caller.open || caller.role == Role::Agent || !(is_grpc || of_events) {
        return response;
    }
    let known_no_more = async move {
        loop {
            tokio::time::sleep(ASKED_EVERY).await;
            if shown.caller(&state).await.as_ref() != Ok(&caller) {
                return;
            }
        }
    };
    // A gRPC client is told why; to readers of events the end says it, for to their next question the answer is 401.
    let said = is_grpc.then(|| {
        let mut trailers = HeaderMap::new();
        let refused = Status::unauthenticated("the token is revoked or has expired").add_header(&mut trailers);
        refused.map_or_else(|_| HeaderMap::new(), |()| trailers)
    });
    response.map(|body| Body::new(StreamBody::new(until(BodyStream::new(body), known_no_more, said))))
}

/// What comes until `end`, then the trailers.
fn until<E>(
    frames: impl Stream<Item = Result<Frame<Bytes>, E>> + Send,
    end: impl Future<Output = ()> + Send,
    trailers: Option<HeaderMap>,
) -> impl Stream<Item = Result<Frame<Bytes>, E>> + Send {
    let begun = Some((Box::pin(frames), Box::pin(end), trailers));
    futures::stream::unfold(begun, |state| async move {
        let (mut frames, mut end, trailers) = state?;
        tokio::select! {
            // What is ready when the right ends is not shown any more.
            biased;
            () = &mut end => Some((Ok(Frame::trailers(trailers?)), None)),
            frame = frames.next() => Some((frame?, Some((frames, end, trailers)))),
        }
    })
}
