"""Files and folders: read with checks, written completely or not at all.

paths           what is at a path that a user named
names           file names as text, for the terminal and for JSON
system_errors   errors of the operating system as messages with a fix
plain_data      JSON
yaml_data       YAML
replacing       what a command may overwrite
atomic          files and folders that appear when they are complete
appending       files that lines are appended to
locks           one process at a time writes an output
unfinished      partial and scratch files, and those that dead processes left
held_locks      the locks of this process, by flock
"""
