"""Result files to tables of the documentation."""
