//! The gRPC service `Predict`: the same answers as REST, from the same board.

use std::pin::Pin;

use foreshadow_proto::convert::Id;
use foreshadow_proto::v1::{self, predict_server};
use futures::{Stream, StreamExt as _};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::rounds::{Board, PredictError};

/// Answers from the board.
#[derive(Debug, Clone)]
pub struct PredictService {
    board: Board,
    shutdown: CancellationToken,
}

impl PredictService {
    pub const fn new(board: Board, shutdown: CancellationToken) -> Self {
        Self { board, shutdown }
    }
}

#[tonic::async_trait]
impl predict_server::Predict for PredictService {
    async fn predict_capacity(
        &self,
        request: Request<v1::PredictCapacityRequest>,
    ) -> Result<Response<v1::PredictCapacityResponse>, Status> {
        self.board.predict(request.get_ref()).map(Response::new).map_err(|error| status(&error))
    }

    type WatchForecastStream = Pin<Box<dyn Stream<Item = Result<v1::Forecast, Status>> + Send>>;

    async fn watch_forecast(
        &self,
        request: Request<v1::WatchForecastRequest>,
    ) -> Result<Response<Self::WatchForecastStream>, Status> {
        let v1::WatchForecastRequest { group, metric } = request.into_inner();
        let unknown = || status(&PredictError::UnknownGroup(group.clone()));
        let id = Id::new("group", &group).map_err(|_| unknown())?;
        let reports = self.board.watch(&id).ok_or_else(unknown)?;
        let mut last = None;
        let forecasts = WatchStream::new(reports).filter_map(move |report| {
            let found = if metric.is_empty() {
                report.forecasts.values().next().cloned()
            } else {
                report.forecasts.get(&metric).cloned()
            };
            // A round that renewed nothing is no news.
            let news = found.filter(|forecast| last.as_ref() != Some(forecast));
            if let Some(forecast) = &news {
                last = Some(forecast.clone());
            }
            std::future::ready(news.map(Ok))
        });
        let until = self.shutdown.clone();
        Ok(Response::new(Box::pin(forecasts.take_until(async move { until.cancelled().await }))))
    }

    async fn list_groups(
        &self,
        _request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let groups = self.board.reports().iter().map(|report| report.summary.clone()).collect();
        Ok(Response::new(v1::ListGroupsResponse { groups }))
    }
}

fn status(error: &PredictError) -> Status {
    match error {
        PredictError::UnknownGroup(_) => Status::not_found(error.to_string()),
        PredictError::NoGroup | PredictError::Confidence(_) => Status::invalid_argument(error.to_string()),
        PredictError::Past { .. } | PredictError::BeyondHorizon { .. } => Status::out_of_range(error.to_string()),
    }
}
