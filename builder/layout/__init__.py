"""Images out of the store and into it: OCI layout folders, OCI archives, Docker archives.

May not import `registry`: a blob that is missing is fetched by a callable handed in.
"""

from builder.layout.export import FORMS, Form, export_image
from builder.layout.importing import Imported, copy_in, import_image

__all__ = ["FORMS", "Form", "Imported", "copy_in", "export_image", "import_image"]
