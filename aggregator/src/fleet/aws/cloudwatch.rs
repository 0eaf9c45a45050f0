//! What CloudWatch measured: GetMetricData, page by page.

use std::sync::Arc;
use std::time::Duration;

use aws_config::Region;

use super::AwsFleet;
use super::fault::Fault;
use super::query::{Query, Service};
use super::xml::Element;
use crate::clock::Clock;

/// A page of 100 800 values takes CloudWatch a while.
const DEADLINE: Duration = Duration::from_secs(60);
/// A call that was throttled or lost is made again this often: it only reads.
const ATTEMPTS: usize = 6;
/// An answer that was lost is asked for again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// More pages than any span has: a token that never ends must not either.
const MOST_PAGES: usize = 1_000;

/// One metric, as CloudWatch names it.
#[derive(Debug, Clone)]
pub struct MetricAsked {
    pub namespace: String,
    pub name: String,
    pub dimensions: Vec<(String, String)>,
    /// `Average`, `Sum`, …
    pub statistic: String,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Datum {
    /// Start of its period, seconds since the Unix epoch.
    pub at: i64,
    pub value: f64,
}

/// Asks CloudWatch, with the usual region, credentials and endpoint.
#[derive(Debug)]
pub struct CloudWatch {
    query: Query,
}

impl CloudWatch {
    pub async fn new(region: Option<String>, clock: Arc<dyn Clock>) -> Self {
        let mut loader = AwsFleet::loader();
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        // A command of its own: nobody else of this process asks there.
        Self { query: Query::new(&loader.load().await, DEADLINE, Arc::default(), clock).await }
    }

    /// Values of a metric in `[from, to)`, by time. `period` is in seconds.
    ///
    /// # Errors
    /// What CloudWatch said, in words.
    pub async fn read(&self, asked: &MetricAsked, period: i64, from: i64, to: i64) -> Result<Vec<Datum>, String> {
        let fields = fields(std::slice::from_ref(asked), period, from, to)?;
        let mut data = [Vec::new()];
        let mut token = None;
        for _ in 0..MOST_PAGES {
            let mut page = fields.clone();
            page.extend(token.map(|token| ("NextToken".to_owned(), token)));
            let answer = self.page(&page).await?;
            token = take(&answer, &mut data)?;
            if token.is_none() {
                let [mut data] = data;
                data.sort_by_key(|datum| datum.at);
                data.dedup_by_key(|datum| datum.at);
                return Ok(data);
            }
        }
        Err(format!("CloudWatch gave {MOST_PAGES} pages and no end"))
    }

    async fn page(&self, fields: &[(String, String)]) -> Result<Element, String> {
        let mut attempt = 1;
        loop {
            match self.query.call(Service::CloudWatch, "GetMetricData", fields).await {
                Ok(answer) => return Ok(answer),
                Err(fault) if attempt < ATTEMPTS && (fault.is_throttled() || matches!(fault, Fault::Lost(_))) => {
                    // Being throttled has a wait of its own in the next call.
                    tokio::time::sleep(AGAIN_AFTER).await;
                    attempt += 1;
                }
                Err(fault @ Fault::Unsent(_)) => {
                    return Err(format!(
                        "CloudWatch: {fault} (--region or AWS_REGION; a role, or AWS_ACCESS_KEY_ID and its secret)"
                    ));
                }
                Err(fault) => {
                    return Err(format!("CloudWatch GetMetricData: {fault} (it needs cloudwatch:GetMetricData)"));
                }
            }
        }
    }
}

/// The form of GetMetricData for some metrics, which [`take`] tells apart.
pub(super) fn fields(asked: &[MetricAsked], period: i64, from: i64, to: i64) -> Result<Vec<(String, String)>, String> {
    let time = |at: i64| jiff::Timestamp::from_second(at).map(|at| at.to_string()).map_err(|error| error.to_string());
    let mut fields = vec![
        ("StartTime".to_owned(), time(from)?),
        ("EndTime".to_owned(), time(to)?),
        ("ScanBy".to_owned(), "TimestampAscending".to_owned()),
    ];
    for (number, metric) in (1..).zip(asked) {
        let query = format!("MetricDataQueries.member.{number}");
        let stat = format!("{query}.MetricStat");
        fields.extend([
            (format!("{query}.Id"), format!("m{number}")),
            (format!("{query}.ReturnData"), "true".to_owned()),
            (format!("{stat}.Metric.Namespace"), metric.namespace.clone()),
            (format!("{stat}.Metric.MetricName"), metric.name.clone()),
            (format!("{stat}.Period"), period.to_string()),
            (format!("{stat}.Stat"), metric.statistic.clone()),
        ]);
        for (index, (name, value)) in (1..).zip(&metric.dimensions) {
            fields.push((format!("{stat}.Metric.Dimensions.member.{index}.Name"), name.clone()));
            fields.push((format!("{stat}.Metric.Dimensions.member.{index}.Value"), value.clone()));
        }
    }
    Ok(fields)
}

/// Adds the values of a page, each to its metric's, and gives the token of the next. What is there in part comes in full with
/// the pages that follow.
pub(super) fn take(answer: &Element, data: &mut [Vec<Datum>]) -> Result<Option<String>, String> {
    let result = answer.child("GetMetricDataResult").ok_or("CloudWatch: the answer has no result")?;
    for found in result.list(&["MetricDataResults"]) {
        let status = found.text_of("StatusCode").unwrap_or("Complete");
        if !matches!(status, "Complete" | "PartialData") {
            return Err(format!("CloudWatch: the answer's status is {status}"));
        }
        let id = found.text_of("Id").unwrap_or_default();
        let number: Option<usize> = id.trim().strip_prefix('m').and_then(|number| number.parse().ok());
        let data = number.and_then(|number| data.get_mut(number.checked_sub(1)?));
        let data = data.ok_or_else(|| format!("CloudWatch: nobody asked for {id:?}"))?;
        let (times, values) = (found.list(&["Timestamps"]), found.list(&["Values"]));
        let (times, values): (Vec<_>, Vec<_>) = (times.collect(), values.collect());
        if times.len() != values.len() {
            return Err(format!("CloudWatch: {} times for {} values", times.len(), values.len()));
        }
        for (time, value) in times.into_iter().zip(values) {
            let (time, value) = (time.text.trim(), value.text.trim());
            let at: jiff::Timestamp = read_time(time).ok_or_else(|| format!("CloudWatch: {time:?} is no time"))?;
            let value: f64 = value.parse().map_err(|_| format!("CloudWatch: {value:?} is no number"))?;
            data.push(Datum { at: at.as_second(), value });
        }
    }
    Ok(result.text_of("NextToken").map(str::to_owned))
}

/// Times carry a zone; some local stand-ins leave it out and mean UTC.
fn read_time(text: &str) -> Option<jiff::Timestamp> {
    text.parse().ok().or_else(|| format!("{text}Z").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(status: &str, token: &str) -> Element {
        let text = format!(
            "<GetMetricDataResponse><GetMetricDataResult><MetricDataResults><member><Id>m1</Id><StatusCode>{status}</StatusCode>\
             <Timestamps><member>2026-01-01T00:00:00Z</member><member>2026-01-01T00:05:00+00:00</member></Timestamps>\
             <Values><member>1.5</member><member>2</member></Values></member></MetricDataResults>{token}\
             </GetMetricDataResult></GetMetricDataResponse>"
        );
        Element::parse(text.as_bytes()).expect("XML")
    }

    #[test]
    fn pages_go_on_until_there_is_no_token() {
        let mut data = [Vec::new()];
        let more = take(&page("PartialData", "<NextToken>abc</NextToken>"), &mut data).expect("read");
        assert_eq!(more.as_deref(), Some("abc"));
        assert_eq!(take(&page("Complete", ""), &mut data).expect("read"), None);
        assert_eq!(data[0].len(), 4);
        assert_eq!(data[0][1], Datum { at: 1_767_225_900, value: 2.0 });
        assert!(take(&page("Complete", ""), &mut []).expect_err("refused").contains("nobody asked for"));
        assert!(take(&page("InternalError", ""), &mut data).expect_err("refused").contains("InternalError"));
        let half = Element::parse(b"<GetMetricDataResponse/>").expect("XML");
        assert!(take(&half, &mut data).is_err());
    }
}
