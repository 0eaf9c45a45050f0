//! The fault proxy itself: what it forwards, what it does not, and what it remembers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use foreshadow_tests::process::eventually;
use foreshadow_tests::proxy::{Fault, Proxy};
use foreshadow_tests::web;
use http::{Method, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// An upstream that counts what reaches it.
async fn upstream() -> anyhow::Result<(String, Arc<AtomicUsize>)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = counted.clone();
            let service = service_fn(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                async { Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"<Done/>")))) }
            });
            tokio::spawn(async move {
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Ok((url, count))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_what_it_says_and_every_call_is_in_the_log() -> anyhow::Result<()> {
    let (url, count) = upstream().await?;
    let mut proxy = Proxy::start(&url).await?;
    let reached = || count.load(Ordering::SeqCst);
    let to = proxy.url.clone();
    let ask = async |form: &'static str| web::request(Method::POST, &to, &[], form).await;

    let through = ask("Action=DescribeX&Name.1=a%20b&Name.2=c&Version=2011-01-01").await?;
    assert_eq!((through.status.as_u16(), through.body.as_str(), reached()), (200, "<Done/>", 1));

    proxy.next("Change", [Fault::THROTTLE, Fault::LIMIT, Fault::FAIL_AFTER, Fault::BreakAfter]);
    let throttled = ask("Action=Change&Version=2011-01-01").await?;
    assert_eq!((throttled.status.as_u16(), reached()), (400, 1));
    assert!(throttled.body.starts_with("<ErrorResponse><Error><Code>Throttling</Code>"), "{}", throttled.body);
    let limited = ask("Action=Change&Version=2016-11-15").await?;
    assert_eq!((limited.status.as_u16(), reached()), (503, 1));
    assert!(limited.body.starts_with("<Response><Errors><Error><Code>RequestLimitExceeded"), "{}", limited.body);
    let failed = ask("Action=Change&Version=2011-01-01").await?;
    assert_eq!((failed.status.as_u16(), reached()), (500, 2));
    assert!(ask("Action=Change").await.is_err(), "the connection breaks");
    assert_eq!(reached(), 3);
    // Used up.
    assert_eq!(ask("Action=Change").await?.status, 200);

    proxy.next("Change", [Fault::HangBefore]);
    proxy.next("Other", [Fault::HangAfter]);
    let before = reached();
    let to_hang = to.clone();
    let impatient =
        tokio::spawn(async move { web::request(Method::POST, &to_hang, &[], "Action=Change&Impatient=1").await });
    eventually("it has come", Duration::from_secs(20), async || {
        Ok(proxy.calls().iter().any(|call| call.field("Impatient") == "1").then_some(()))
    })
    .await?;
    impatient.abort();
    assert!(impatient.await.is_err() && reached() == before, "it hung, and was not forwarded");
    {
        let hanging = ask("Action=Other");
        tokio::pin!(hanging);
        let forwarded = eventually("the other is forwarded", Duration::from_secs(20), async || {
            Ok((reached() == before + 1).then_some(()))
        });
        tokio::select! {
            answer = &mut hanging => anyhow::bail!("it does not hang: {answer:?}"),
            forwarded = forwarded => forwarded?,
        }
        proxy.release();
        assert_eq!(hanging.await?.status, 200);
    }
    eventually("the first goes through, although its caller left", Duration::from_secs(20), async || {
        Ok((reached() == before + 2).then_some(()))
    })
    .await?;

    let calls = proxy.calls();
    assert_eq!(calls[0].list("Name"), ["a b", "c"]);
    assert!(!calls[0].changes && calls[1].changes);
    assert_eq!(proxy.take_changes().len(), 7);
    assert!(proxy.calls().is_empty());

    proxy.refuse().await;
    assert!(ask("Action=Change").await.is_err(), "refused");
    proxy.listen().await?;
    assert_eq!(ask("Action=Change").await?.status, 200);
    Ok(())
}
