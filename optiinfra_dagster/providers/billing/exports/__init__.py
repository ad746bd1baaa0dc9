"""Billing exports in object storage: FOCUS, AWS CUR, Azure and Google Cloud layouts, in CSV or Parquet."""
