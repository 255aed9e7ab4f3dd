"""The starter corpus: generated, licence-free instructions with planted, marked faults."""
