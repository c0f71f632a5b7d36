"""Who a specialist is and how it works: roles that come with the library, and the project's own."""
