//! What a call that did not succeed came to: done, not done, or nobody knows.

use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};

use crate::fleet::{Called, FleetError};

/// Codes by which AWS says "later": nothing was done.
const THROTTLED: [&str; 12] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "PriorRequestNotComplete",
    // Another activity of the group is under way: nothing was begun.
    "ScalingActivityInProgress",
    "ScalingActivityInProgressFault",
    // SQS.
    "OverLimit",
    "SlowDown",
];
const DENIED: [&str; 4] = ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"];
const CREDENTIALS: [&str; 7] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AuthFailure",
    "SignatureDoesNotMatch",
    "RequestExpired",
];
/// Words of an answer that are shown.
const SHOWN: usize = 300;

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The service answered; `code` where the answer was one of its own.
    Answered { status: u16, code: Option<String>, message: String },
    /// Nothing was sent.
    Unsent(String),
    /// No answer, or half of one.
    Lost(String),
}

impl Fault {
    pub fn from_sdk<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let whole = chain(error);
        match error {
            SdkError::ConstructionFailure(_) => Self::Unsent(whole),
            SdkError::ResponseError(_) | SdkError::ServiceError(_) => match error.raw_response() {
                Some(raw) => Self::Answered {
                    status: raw.status().as_u16(),
                    code: error.code().map(str::to_owned),
                    message: shown(error.message().unwrap_or("no message")),
                },
                None => Self::Lost(whole),
            },
            // The credentials are asked for before anything is sent.
            SdkError::DispatchFailure(failure) if failure.is_user() => Self::Unsent(whole),
            _ => Self::Lost(whole),
        }
    }

    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Answered { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    pub fn is_throttled(&self) -> bool {
        match self {
            Self::Answered { status, code, .. } => {
                *status == 429 || code.as_deref().is_some_and(|code| THROTTLED.contains(&code))
            }
            _ => false,
        }
    }

    /// More was asked than the account may ask; a group that is busy, or a call that is under way still, is no sign of it.
    pub fn is_over_rate(&self) -> bool {
        let busy = |code: &str| code.starts_with("ScalingActivityInProgress") || code == "PriorRequestNotComplete";
        self.is_throttled() && !self.code().is_some_and(busy)
    }

    /// Of a description: asked again it may go through.
    pub fn passes(&self) -> bool {
        self.is_throttled() || matches!(self, Self::Lost(_) | Self::Answered { status: 500..=599, .. })
    }

    /// The endpoint has no such call. A bare 500 page says so only of a local endpoint: a cloud that
    /// fails may have done it.
    pub fn is_unknown_call(&self, loopback: bool) -> bool {
        match self {
            Self::Answered { status: 404 | 501, code: None, .. } => true,
            Self::Answered { status: 500, code: None, .. } => loopback,
            Self::Answered { code: Some(code), .. } => {
                matches!(code.as_str(), "InvalidAction" | "UnknownOperationException" | "NotImplemented")
            }
            _ => false,
        }
    }

    /// What a change came to; `permission` is what it needs.
    pub fn called(&self, permission: &str) -> Called {
        if self.is_throttled() {
            return Called::Throttled;
        }
        match self {
            Self::Unsent(_) => Called::Refused { why: self.problem(permission) },
            Self::Lost(_) => Called::Unknown,
            Self::Answered { code: Some(code), .. }
                if code.starts_with("ResourceContention") || code.starts_with("IdempotentCallInProgress") =>
            {
                Called::Unknown
            }
            // 408: the service stopped waiting, whatever it had read by then.
            Self::Answered { status: 400..=407 | 409..=499, .. } => Called::Refused { why: self.problem(permission) },
            Self::Answered { .. } => Called::Unknown,
        }
    }

    /// What it means when it met a description that a change needs first: the change was not begun.
    pub fn before(&self, permission: &str) -> Called {
        if self.is_throttled() {
            return Called::Throttled;
        }
        Called::Refused { why: format!("nothing was changed: {}", self.problem(permission)) }
    }

    pub fn error(&self, permission: &str) -> FleetError {
        FleetError::Unreachable { source_name: "aws", problem: self.problem(permission) }
    }

    /// For people: what is wrong and what to do.
    pub fn problem(&self, permission: &str) -> String {
        let whole = self.to_string();
        match self.code() {
            Some(code) if DENIED.contains(&code) => format!("access denied: grant {permission} ({whole})"),
            Some(code) if CREDENTIALS.contains(&code) => format!("the credentials are not valid ({whole})"),
            _ if self.is_throttled() => "the API throttles: asking again next round".to_owned(),
            Some(_) => format!("{permission}: {whole}"),
            None if whole.contains("region") => {
                format!("no region: set inventory.aws.region or AWS_REGION ({whole})")
            }
            None if whole.contains("credential") => {
                format!("no credentials: give the host a role or set AWS_ACCESS_KEY_ID and its secret ({whole})")
            }
            None => format!("{permission}: {whole}"),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered { code: Some(code), message, .. } => write!(f, "{code}: {message}"),
            Self::Answered { status, code: None, message } => write!(f, "HTTP status {status}: {message}"),
            Self::Unsent(problem) | Self::Lost(problem) => write!(f, "{problem}"),
        }
    }
}

/// The first words of a text from outside, on one line.
pub(super) fn shown(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(SHOWN).collect()
}

/// An error and its causes; never the raw response, which fills pages.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    shown(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: Option<&str>) -> Fault {
        Fault::Answered { status, code: code.map(str::to_owned), message: "words".to_owned() }
    }

    #[test]
    fn only_what_was_surely_not_done_is_refused_or_throttled() {
        for (status, code) in [
            (400, "Throttling"),
            (503, "RequestLimitExceeded"),
            (400, "ThrottlingException"),
            (429, "TooManyRequestsException"),
            (400, "ScalingActivityInProgress"),
        ] {
            assert_eq!(answered(status, Some(code)).called("x"), Called::Throttled, "{code}");
        }
        for fault in [
            answered(500, Some("InternalFailure")),
            answered(500, Some("ResourceContention")),
            answered(400, Some("ResourceContentionFault")),
            answered(400, Some("IdempotentCallInProgress")),
            answered(503, Some("ServiceUnavailable")),
            answered(502, None),
            answered(500, None),
            answered(408, None),
            answered(200, None),
            answered(302, None),
            Fault::Lost("timeout".to_owned()),
        ] {
            assert_eq!(fault.called("x"), Called::Unknown, "{fault:?}");
        }
        for fault in
            [answered(400, Some("ValidationError")), answered(403, None), Fault::Unsent("no credentials".to_owned())]
        {
            assert!(matches!(fault.called("x"), Called::Refused { .. }), "{fault:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_permission_that_is_missing() {
        let Called::Refused { why } = answered(403, Some("UnauthorizedOperation")).called("ec2:TerminateInstances")
        else {
            panic!("refused")
        };
        assert_eq!(why, "access denied: grant ec2:TerminateInstances (UnauthorizedOperation: words)");
    }

    #[test]
    fn a_bare_500_tells_of_a_missing_call_on_this_machine_alone() {
        assert!(answered(500, None).is_unknown_call(true));
        assert!(!answered(500, None).is_unknown_call(false));
        assert!(!answered(500, Some("InternalFailure")).is_unknown_call(true));
        assert!(answered(400, Some("InvalidAction")).is_unknown_call(false));
        assert!(answered(404, None).is_unknown_call(false));
        assert!(!answered(400, Some("ValidationError")).is_unknown_call(true));
    }
}
