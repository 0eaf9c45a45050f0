//! The inventory over pages and failures: what is not known completely is said, and nobody is taken
//! for gone because a page or a source is missing.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use foreshadow_tests::process::{Aggregator, eventually, free_port, pause};
use foreshadow_tests::web;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// An Auto Scaling endpoint that gives one group a page.
#[derive(Debug, Clone, Default)]
struct Endpoint {
    second_page_fails: Arc<AtomicBool>,
    actions: Arc<Mutex<Vec<String>>>,
}

fn group(name: &str, instances: &[&str]) -> String {
    let member = |id: &&str| {
        format!(
            "<member><InstanceId>{id}</InstanceId><LifecycleState>InService</LifecycleState>\
             <AvailabilityZone>z</AvailabilityZone><HealthStatus>Healthy</HealthStatus>\
             <ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>"
        )
    };
    let members: String = instances.iter().map(member).collect();
    format!(
        "<member><AutoScalingGroupName>{name}</AutoScalingGroupName><MinSize>1</MinSize><MaxSize>9</MaxSize>\
         <DesiredCapacity>{}</DesiredCapacity><DefaultCooldown>300</DefaultCooldown><HealthCheckType>EC2</HealthCheckType>\
         <CreatedTime>2026-01-01T00:00:00Z</CreatedTime><Instances>{members}</Instances></member>",
        instances.len()
    )
}

impl Endpoint {
    async fn start(&self) -> anyhow::Result<String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let endpoint = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let endpoint = endpoint.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| endpoint.clone().answer(request));
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Ok(url)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let form = String::from_utf8_lossy(&body).into_owned();
        let action = form.split('&').find_map(|field| field.strip_prefix("Action=")).unwrap_or_default().to_owned();
        self.actions.lock().unwrap_or_else(PoisonError::into_inner).push(action.clone());
        let result = match action.as_str() {
            "DescribeAutoScalingGroups" if form.contains("NextToken=second") => {
                if self.second_page_fails.load(Ordering::Relaxed) {
                    let error = "<ErrorResponse><Error><Type>Receiver</Type><Code>InternalFailure</Code>\
                                 <Message>page</Message></Error></ErrorResponse>";
                    let mut response = Response::new(Full::new(Bytes::from_static(error.as_bytes())));
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    return Ok(response);
                }
                format!("<AutoScalingGroups>{}</AutoScalingGroups>", group("api", &["i-3"]))
            }
            "DescribeAutoScalingGroups" => {
                format!(
                    "<AutoScalingGroups>{}</AutoScalingGroups><NextToken>second</NextToken>",
                    group("web", &["i-1", "i-2"])
                )
            }
            "DescribePolicies" => "<ScalingPolicies/>".to_owned(),
            "DescribeScheduledActions" => "<ScheduledUpdateGroupActions/>".to_owned(),
            _ => "<InstanceRefreshes/>".to_owned(),
        };
        let text = format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>");
        Ok(Response::new(Full::new(Bytes::from(text))))
    }
}

const CONFIG: &str = "[inventory]\ninterval_seconds = 5\nwarm_up_seconds = 0\n\
[inventory.aws]\ngroups = [\"web\", \"api\"]\n";

async fn names(url: &str) -> anyhow::Result<Vec<(String, u64)>> {
    let groups = web::get_json(&format!("{url}/groups")).await?;
    let all = groups["groups"].as_array().cloned().unwrap_or_default();
    let name = |group: &serde_json::Value| {
        (group["name"].as_str().unwrap_or_default().to_owned(), group["serving"].as_u64().unwrap_or_default())
    };
    Ok(all.iter().map(name).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_read_and_a_missing_one_takes_nobody_away() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let endpoint = Endpoint::default();
    let aws = endpoint.start().await?;
    let environment = [
        ("AWS_ENDPOINT_URL", aws.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "the-secret-key"),
        ("AWS_REGION", "us-east-1"),
    ];
    endpoint.second_page_fails.store(true, Ordering::Relaxed);
    let aggregator = Aggregator::start_on(directory.path(), CONFIG, free_port()?, &environment).await?;
    let ready = format!("{}/readyz", aggregator.url);
    let unread = eventually("not ready before the inventory was read whole", Duration::from_secs(20), async || {
        let answer = web::get(&ready).await?;
        Ok((answer.status == 503).then_some(answer.body))
    })
    .await?;
    assert!(unread.contains("the inventory was never read completely"), "{unread}");

    endpoint.second_page_fails.store(false, Ordering::Relaxed);
    let both = vec![("api".to_owned(), 1), ("web".to_owned(), 2)];
    eventually("both pages", Duration::from_secs(60), async || {
        Ok((names(&aggregator.url).await? == both).then_some(()))
    })
    .await?;
    assert_eq!(web::get(&ready).await?.status, 200);

    // From here on the second page is missing again: what was known stays, and its age is shown.
    endpoint.second_page_fails.store(true, Ordering::Relaxed);
    pause(Duration::from_secs(25)).await;
    assert_eq!(names(&aggregator.url).await?, both);
    let log = aggregator.process.output();
    assert!(log.contains("InternalFailure") || log.contains("inventory"), "{log}");
    assert!(!log.contains("the-secret-key"), "a secret is in the log");
    let actions = endpoint.actions.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(actions.iter().all(|action| action.starts_with("Describe")), "only describes: {actions:?}");
    Ok(())
}

#[tokio::test]
async fn a_static_file_is_read_anew_and_a_broken_one_changes_nothing() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("inventory.toml");
    std::fs::write(&file, "[group.web]\nminimum = 1\nmaximum = 5\ninstances = [\"i-1\", \"i-2\"]\n")?;
    let config = format!("[inventory]\ninterval_seconds = 5\nwarm_up_seconds = 0\nfile = \"{}\"\n", file.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let serve = async |wanted: u64| {
        eventually("the file's group", Duration::from_secs(40), async || {
            Ok((names(&aggregator.url).await? == [("web".to_owned(), wanted)]).then_some(()))
        })
        .await
    };
    serve(2).await?;
    for broken in ["", "[group.web]\ninstances = [\n", "[group.web]\ninstanzen = []\n"] {
        std::fs::write(&file, broken)?;
        pause(Duration::from_secs(7)).await;
        assert_eq!(names(&aggregator.url).await?, [("web".to_owned(), 2)], "{broken:?}");
    }
    std::fs::write(&file, "[group.web]\ninstances = [\"i-1\", \"i-2\", \"i-3\"]\n")?;
    serve(3).await?;
    Ok(())
}
