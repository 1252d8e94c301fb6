"""Parquet files with the sound in them, as the Hugging Face hub keeps data sets: files and columns, sound, reader."""
