"""Set-up of a machine for this project: the virtual environment and the system packages.

Owns what `make` needs before anything of the project is installed, so it uses the standard library only.
Called by the Makefile and by `tests.provision`; calls apt-get and pip. No tables. Running any of it twice
changes nothing.
"""
