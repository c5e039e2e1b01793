# Prints the first code block of README.md that follows a line that starts with the
# variable `after`, and ends with status 1 if there is none.
#
#   awk -v after='`build.rs`:' -f .ci/readme-block.awk README.md
!found && index($0, after) == 1 { found = 1; next }
found && /^```/ { if (inside) { done = 1; exit }; inside = 1; next }
inside { print }
END { exit !done }
