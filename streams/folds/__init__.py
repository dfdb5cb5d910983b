"""The two folds: pure functions of rows and records.  Knows no Kafka, no Faust, no clock."""
