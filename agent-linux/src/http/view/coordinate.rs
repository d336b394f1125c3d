//! Where a node is.

use agent_core::model::coordinate::{Coordinate, Row};
use serde::Serialize;

/// A place.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CoordinateView<'a> {
    vec: &'a [f64],
    error: f64,
    adjustment: f64,
    height: f64,
}

impl<'a> From<&'a Coordinate> for CoordinateView<'a> {
    fn from(place: &'a Coordinate) -> Self {
        Self {
            vec: &place.vec,
            error: place.error,
            adjustment: place.adjustment,
            height: place.height,
        }
    }
}

/// A node and its place, as `/v1/coordinate/` shows them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RowView<'a> {
    node: &'a str,
    segment: &'a str,
    coord: CoordinateView<'a>,
}

impl<'a> From<&'a Row> for RowView<'a> {
    fn from(row: &'a Row) -> Self {
        Self { node: &row.node, segment: &row.segment, coord: CoordinateView::from(&row.place) }
    }
}
