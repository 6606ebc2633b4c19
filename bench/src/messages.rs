//! The messages of Prometheus remote write as prost decodes them: what our own encoder and decoders are held against.
//! Those of OTLP are in the crate `opentelemetry-proto`.

/// Version 1.0.
pub mod v1 {
    /// `prometheus.WriteRequest`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct WriteRequest {
        /// Series with their samples.
        #[prost(message, repeated, tag = "1")]
        pub timeseries: Vec<TimeSeries>,
    }

    /// `prometheus.TimeSeries`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        /// The name, `__name__`, among them.
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        /// In the order of time.
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
    }

    /// `prometheus.Label`
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct Label {
        /// Name of the label.
        #[prost(string, tag = "1")]
        pub name: String,
        /// Value of the label.
        #[prost(string, tag = "2")]
        pub value: String,
    }

    /// `prometheus.Sample`
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Sample {
        /// Value of the sample.
        #[prost(double, tag = "1")]
        pub value: f64,
        /// Milliseconds since 1970.
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
    }
}

/// Version 2.0.
pub mod v2 {
    /// `io.prometheus.write.v2.Request`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        /// Each text once; the first is empty.
        #[prost(string, repeated, tag = "4")]
        pub symbols: Vec<String>,
        /// Series with their samples.
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<TimeSeries>,
    }

    /// `io.prometheus.write.v2.TimeSeries`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        /// Indexes of symbols: of a name, of its value, and so on.
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// In the order of time.
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<super::v1::Sample>,
        /// Type and help of the series.
        #[prost(message, optional, tag = "5")]
        pub metadata: Option<Metadata>,
    }

    /// `io.prometheus.write.v2.Metadata`
    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub struct Metadata {
        /// `MetricType`: 1 is a counter, 2 a gauge, 5 a summary.
        #[prost(int32, tag = "1")]
        pub kind: i32,
        /// Index of the symbol that is its help.
        #[prost(uint32, tag = "3")]
        pub help_ref: u32,
        /// Index of the symbol that is its unit.
        #[prost(uint32, tag = "4")]
        pub unit_ref: u32,
    }
}
