//! Signed calls of EC2, Elastic Load Balancing and CloudWatch, which have no SDK here: EC2's takes ten minutes
//! to compile. The query protocol is a form, and the answer XML; SQS takes and gives JSON. Nothing is
//! ever sent twice.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_autoscaling::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use rustls::ClientConfig;
use serde_json::Value;

use super::budget::Budget;
use super::fault::{Fault, shown};
use super::xml::Element;
use crate::clock::Clock;
use crate::exchange::{Answer, exchange, trust};

/// A call that takes longer has failed; whether it was done is then found out by describing.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(20);
/// No answer is longer: a page of 200 instances is about 1 MB.
const LONGEST: usize = 16 * 1_024 * 1_024;
/// Credentials are fetched anew this long before they end, and after this long where they say no end.
const FRESH: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(900));
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const JSON: &str = "application/x-amz-json-1.0";

/// A service of the query protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Ec2,
    LoadBalancing,
    CloudWatch,
}

impl Service {
    /// For signatures, and the first label of its host.
    const fn word(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::LoadBalancing => "elasticloadbalancing",
            Self::CloudWatch => "monitoring",
        }
    }

    const fn version(self) -> &'static str {
        match self {
            Self::Ec2 => "2016-11-15",
            Self::LoadBalancing => "2015-12-01",
            Self::CloudWatch => "2010-08-01",
        }
    }

    /// As in `AWS_ENDPOINT_URL_…`.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::LoadBalancing => "Elastic Load Balancing v2",
            Self::CloudWatch => "CloudWatch",
        }
    }
}

/// The endpoint that environment or profile name for a service: its own first.
pub(super) fn configured_endpoint(config: &SdkConfig, service_id: &str) -> Option<String> {
    let all = || config.endpoint_url().map(str::to_owned);
    if config.get_origin("endpoint_url").is_client_config() {
        return all();
    }
    let key = ServiceConfigKey::builder().service_id(service_id).env("AWS_ENDPOINT_URL").profile("endpoint_url");
    let own = key.build().ok().and_then(|key| config.service_config()?.load_config(key));
    own.or_else(all)
}

/// Makes the calls.
pub(super) struct Query {
    region: Option<String>,
    provider: Option<SharedCredentialsProvider>,
    kept: Mutex<Option<Kept>>,
    ec2: Result<Uri, String>,
    load_balancing: Result<Uri, String>,
    cloudwatch: Result<Uri, String>,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    budget: Arc<Budget>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("region", &self.region).field("ec2", &self.ec2).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Kept {
    credentials: Credentials,
    until_micros: i64,
}

impl Query {
    pub async fn new(config: &SdkConfig, deadline: Duration, budget: Arc<Budget>, clock: Arc<dyn Clock>) -> Self {
        Self {
            region: config.region().map(|region| region.as_ref().to_owned()),
            provider: config.credentials_provider(),
            kept: Mutex::default(),
            ec2: endpoint(config, Service::Ec2).await,
            load_balancing: endpoint(config, Service::LoadBalancing).await,
            cloudwatch: endpoint(config, Service::CloudWatch).await,
            tls: OnceLock::new(),
            budget,
            deadline,
            clock,
        }
    }

    /// One call with a deadline.
    pub async fn call(&self, service: Service, action: &str, fields: &[(String, String)]) -> Result<Element, Fault> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", service.version())
            .extend_pairs(fields)
            .finish();
        let begun = self.budget.in_turn().await;
        let exchanged = tokio::time::timeout(self.deadline, self.exchange(service, body)).await;
        let late = || Fault::Lost(format!("no answer within {} s", self.deadline.as_secs()));
        let result = exchanged.unwrap_or_else(|_| Err(late()));
        self.forget_ended(&result);
        self.budget.heed(begun, result.as_ref().err().is_some_and(Fault::is_over_rate));
        result
    }

    /// The deadline of a call.
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// One call of SQS, in its JSON protocol.
    pub async fn json(
        &self,
        url: &Uri,
        region: Option<&str>,
        operation: &str,
        body: &Value,
        deadline: Duration,
    ) -> Result<Value, Fault> {
        let called = async {
            let region = region.or(self.region.as_deref());
            let target = format!("AmazonSQS.{operation}");
            let headers = [("content-type", JSON), ("x-amz-target", target.as_str())];
            let host: Uri = origin(url)?;
            let request = self.signed_for("sqs", region, &host, &headers, body.to_string()).await;
            let answer = self.sent(&host, request.map_err(Fault::Unsent)?).await?;
            let read: Option<Value> = serde_json::from_slice(&answer.body).ok();
            if answer.status.is_success() {
                // An answer without anything in it may be empty altogether.
                return match read {
                    Some(read) => Ok(read),
                    None if answer.body.is_empty() => Ok(Value::Null),
                    None => Err(Fault::Lost(format!("{operation}: the answer is not JSON"))),
                };
            }
            let of = |name: &str| read.as_ref().and_then(|read| read.get(name)?.as_str());
            let code = of("__type").map(|code| code.rsplit('#').next().unwrap_or(code).to_owned());
            let text = String::from_utf8_lossy(&answer.body);
            let message = shown(of("message").or_else(|| of("Message")).unwrap_or(&text));
            Err(Fault::Answered { status: answer.status.as_u16(), code, message })
        };
        let late = || Fault::Lost(format!("no answer within {} s", deadline.as_secs()));
        let begun = self.budget.in_turn().await;
        let result = tokio::time::timeout(deadline, called).await.unwrap_or_else(|_| Err(late()));
        self.forget_ended(&result);
        self.budget.heed(begun, result.as_ref().err().is_some_and(Fault::is_over_rate));
        result
    }

    /// Credentials that the service calls ended are asked for anew.
    fn forget_ended<T>(&self, result: &Result<T, Fault>) {
        if let Err(fault) = result
            && fault.code().is_some_and(|code| code.starts_with("ExpiredToken"))
        {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    async fn sent(&self, url: &Uri, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let tls = || self.tls.get_or_init(|| trust(None).map(Arc::new).map_err(|error| format!("{error:#}"))).clone();
        exchange(url, request, tls, LONGEST)
            .await
            .map_err(|error| Fault::Lost(format!("{}: {error}", url.authority().map_or("", |host| host.as_str()))))
    }

    async fn exchange(&self, service: Service, body: String) -> Result<Element, Fault> {
        let url = match service {
            Service::Ec2 => &self.ec2,
            Service::LoadBalancing => &self.load_balancing,
            Service::CloudWatch => &self.cloudwatch,
        };
        let url = url.as_ref().map_err(|problem| Fault::Unsent(problem.clone()))?;
        let request = self.signed(service, url, body).await.map_err(Fault::Unsent)?;
        let answer = self.sent(url, request).await?;
        let status = answer.status.as_u16();
        let parsed = Element::parse(&answer.body);
        if answer.status.is_success() {
            return parsed.map_err(Fault::Lost);
        }
        let text = shown(&String::from_utf8_lossy(&answer.body));
        // <Response><Errors><Error> in EC2, <ErrorResponse><Error> elsewhere.
        let error = parsed.as_ref().ok().and_then(|root| root.at(&["Errors", "Error"]).or_else(|| root.child("Error")));
        let code = error.and_then(|error| error.text_of("Code")).map(str::to_owned);
        let message = error.and_then(|error| error.text_of("Message")).map_or(text, shown);
        Err(Fault::Answered { status, code, message })
    }

    async fn signed(&self, service: Service, url: &Uri, body: String) -> Result<Request<Full<Bytes>>, String> {
        self.signed_for(service.word(), self.region.as_deref(), url, &[("content-type", FORM)], body).await
    }

    /// `headers` are sent, and signed with the host.
    async fn signed_for(
        &self,
        service: &str,
        region: Option<&str>,
        url: &Uri,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Request<Full<Bytes>>, String> {
        let region = region.ok_or("no region is set")?;
        let identity = self.credentials().await?.into();
        let now = u64::try_from(self.clock.wall_micros()).unwrap_or_default();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(UNIX_EPOCH + Duration::from_micros(now))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| format!("the call cannot be signed: {error}"))?
            .into();
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let host = url.authority().map_or("", |authority| authority.as_str());
        let signed = std::iter::once(("host", host)).chain(headers.iter().copied());
        let whole = url.to_string();
        let signable = SignableRequest::new("POST", whole, signed, SignableBody::Bytes(body.as_bytes()));
        let instructions = signable.and_then(|signable| sign(signable, &parameters));
        let (instructions, _) =
            instructions.map_err(|error| format!("the call cannot be signed: {error}"))?.into_parts();
        let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
        let mut request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }

    /// The credentials of the usual chain, kept while they are fresh: the chain itself keeps nothing.
    async fn credentials(&self) -> Result<Credentials, String> {
        let now = self.clock.wall_micros();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = kept.filter(|kept| now < kept.until_micros) {
            return Ok(kept.credentials);
        }
        let provider = self.provider.as_ref().ok_or("no credentials are set")?;
        let credentials = provider.provide_credentials().await.map_err(|error| format!("no credentials: {error}"))?;
        let until = match credentials.expiry() {
            Some(end) => end.checked_sub(FRESH.0).and_then(|end| end.duration_since(UNIX_EPOCH).ok()),
            None => Duration::from_micros(u64::try_from(now).unwrap_or_default()).checked_add(FRESH.1),
        };
        let until_micros = until.and_then(|until| i64::try_from(until.as_micros()).ok()).unwrap_or(now);
        let kept = Kept { credentials: credentials.clone(), until_micros };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(credentials)
    }
}

/// Scheme and host of a URL: where the JSON protocol is spoken.
fn origin(url: &Uri) -> Result<Uri, Fault> {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let origin = format!("{}://{authority}/", url.scheme_str().unwrap_or("https")).parse();
    origin.map_err(|error| Fault::Unsent(format!("{url} is not the URL of an endpoint: {error}")))
}

/// Where a service is: as configured, or where Auto Scaling is in this region and partition, with the
/// service's own name for the first label.
async fn endpoint(config: &SdkConfig, service: Service) -> Result<Uri, String> {
    let url = match configured_endpoint(config, service.id()) {
        Some(url) => url,
        None => {
            let region = config.region().ok_or("no region is set")?;
            let parameters = Params::builder()
                .region(region.as_ref())
                .use_fips(config.use_fips().unwrap_or(false))
                .use_dual_stack(config.use_dual_stack().unwrap_or(false))
                .build()
                .map_err(|error| error.to_string())?;
            let resolver = DefaultResolver::new();
            let found = resolver.resolve_endpoint(&parameters).await.map_err(|error| error.to_string())?;
            found.url().replacen("://autoscaling", &format!("://{}", service.word()), 1)
        }
    };
    url.parse().map_err(|error| format!("{url:?} is not the URL of an endpoint: {error}"))
}

#[cfg(test)]
mod tests {
    use aws_config::Region;

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn endpoints_follow_region_and_partition_or_what_is_configured() {
        let of = async |region: &'static str, fips: bool, service: Service| {
            let config = SdkConfig::builder().region(Region::from_static(region)).use_fips(fips).build();
            endpoint(&config, service).await.expect("an endpoint").to_string()
        };
        assert_eq!(of("eu-west-1", false, Service::Ec2).await, "https://ec2.eu-west-1.amazonaws.com/");
        assert_eq!(of("cn-north-1", false, Service::Ec2).await, "https://ec2.cn-north-1.amazonaws.com.cn/");
        assert_eq!(
            of("us-east-1", true, Service::LoadBalancing).await,
            "https://elasticloadbalancing-fips.us-east-1.amazonaws.com/"
        );
        assert_eq!(of("eu-west-1", false, Service::CloudWatch).await, "https://monitoring.eu-west-1.amazonaws.com/");
        let local = SdkConfig::builder().endpoint_url("http://127.0.0.1:5000").build();
        assert_eq!(endpoint(&local, Service::Ec2).await.expect("an endpoint").to_string(), "http://127.0.0.1:5000/");
        assert!(endpoint(&SdkConfig::builder().build(), Service::Ec2).await.is_err());
    }

    #[tokio::test]
    async fn without_region_or_credentials_nothing_is_sent() {
        let query =
            Query::new(&SdkConfig::builder().build(), CALL_DEADLINE, Arc::default(), Arc::new(SystemClock)).await;
        let fault = query.call(Service::Ec2, "TerminateInstances", &[]).await.expect_err("no region");
        assert!(matches!(&fault, Fault::Unsent(problem) if problem.contains("region")), "{fault:?}");
        let local = SdkConfig::builder().endpoint_url("http://127.0.0.1:1").region(Region::from_static("r")).build();
        let fault = Query::new(&local, CALL_DEADLINE, Arc::default(), Arc::new(SystemClock))
            .await
            .call(Service::Ec2, "X", &[])
            .await;
        assert!(matches!(&fault, Err(Fault::Unsent(problem)) if problem.contains("credentials")), "{fault:?}");
    }

    #[derive(Debug)]
    struct Then;

    impl Clock for Then {
        fn wall_micros(&self) -> i64 {
            1_767_323_045_000_000
        }

        fn boot_seconds(&self) -> i64 {
            0
        }
    }

    /// The local AWS of the tests checks no signature. This one was made by botocore 1.43 from the same
    /// request, key and time.
    #[tokio::test]
    async fn the_signature_is_the_one_that_others_make() {
        let key = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session-token");
        let credentials = Credentials::new(key.0, key.1, Some(key.2.to_owned()), None, "test");
        let config = SdkConfig::builder()
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let query = Query::new(&config, CALL_DEADLINE, Arc::default(), Arc::new(Then)).await;
        let url = query.ec2.clone().expect("an endpoint");
        let body = "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=a+b%2Bc";
        let request = query.signed(Service::Ec2, &url, body.to_owned()).await.expect("signed");
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("x-amz-date"), Some("20260102T030405Z"));
        assert_eq!(header("x-amz-security-token"), Some("session-token"));
        assert_eq!(
            header("authorization"),
            Some(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/ec2/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
                 Signature=74510205e0af337a7f7a6455836bfa77b9fa3bba831e45851ad791ac5a74c9c4"
            )
        );
    }
}
