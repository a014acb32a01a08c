"""`python -m cloud_saver`."""

from __future__ import annotations

from cloud_saver.saver import work
from cloud_saver.settings import SaverSettings
from face_messages import program

if __name__ == "__main__":
    program.end(
        program.run(
            SaverSettings,
            work,
            name="cloud_saver",
            about="Takes faces from the cloud broker and writes each to IBM Cloud Object Storage, or another S3 store.",
        )
    )
