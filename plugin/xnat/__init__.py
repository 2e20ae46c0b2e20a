"""What an XNAT server says and takes, by REST; ``plugin.xnat_archive`` joins it."""
