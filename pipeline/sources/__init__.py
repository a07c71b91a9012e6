"""Where pictures come from: the embedded digits, idx files, folders of pictures, Parquet files."""
