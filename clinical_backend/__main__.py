"""Makes ``python -m clinical_backend`` the same as ``clinical``."""

from clinical_backend.cli import main

if __name__ == "__main__":
    main()
