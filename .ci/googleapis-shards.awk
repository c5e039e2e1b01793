# Puts the packages of many protos into shards that can be compiled one by one: each has all that its packages import.
#
#   awk -v limit=BYTES -v sizes=FILE -f googleapis-shards.awk LINES
#
# LINES are those of grep -H that say "FILE:package NAME;" and "FILE:import "OTHER";"; `sizes` has "BYTES FILE" lines.
# Prints a line of files for each shard. What is above the limit by itself is a shard by itself.
BEGIN {
  while ((getline line < sizes) > 0) {
    split(line, part, " ")
    bytes[part[2]] = part[1]
  }
}
{
  colon = index($0, ":")
  file = substr($0, 1, colon - 1)
  rest = substr($0, colon + 1)
  if (match(rest, /^package +[A-Za-z0-9_.]+/)) {
    name = substr(rest, RSTART, RLENGTH)
    sub(/^package +/, "", name)
    package_of[file] = name
    if (!(name in files)) order[++count] = name
    files[name] = files[name] " " file
    size[name] += bytes[file]
  } else if (match(rest, /"[^"]+"/)) {
    imports[file] = imports[file] " " substr(rest, RSTART + 1, RLENGTH - 2)
  }
}

# Fills `found` with a package and all that it imports, and gives their size.
function closure(name,   open, k, m, i, j, own, nown, of, nof, other, total_size) {
  delete found
  open[m = 1] = name
  found[name] = 1
  for (k = 1; k <= m; k++) {
    total_size += size[open[k]]
    nown = split(files[open[k]], own, " ")
    for (i = 1; i <= nown; i++) {
      nof = split(imports[own[i]], of, " ")
      for (j = 1; j <= nof; j++) {
        other = package_of[of[j]]
        if (other != "" && !(other in found)) {
          found[other] = 1
          open[++m] = other
        }
      }
    }
  }
  return total_size
}

function flush(   name, line) {
  if (shard_size == 0) return
  for (name in shard) {
    line = line files[name]
    done[name] = 1
  }
  print substr(line, 2)
  delete shard
  shard_size = 0
}

function add(name,   needs, more, each) {
  if (name in done || name in shard) return
  needs = closure(name)
  for (each in found) if (!(each in shard)) more += size[each]
  if (shard_size > 0 && shard_size + more > limit) {
    flush()
    more = needs
  }
  for (each in found) shard[each] = 1
  shard_size += more
}

END {
  # Those that need much come first, the largest before all: most of what is above the limit is in them.
  for (i = 1; i <= count; i++) {
    needs = closure(order[i])
    if (needs > limit) {
      large[++larges] = order[i]
      need[order[i]] = needs
    }
  }
  for (i = 1; i <= larges; i++)
    for (j = i + 1; j <= larges; j++)
      if (need[large[j]] > need[large[i]]) {
        swap = large[i]
        large[i] = large[j]
        large[j] = swap
      }
  for (i = 1; i <= larges; i++) add(large[i])
  for (i = 1; i <= count; i++) add(order[i])
  flush()
}
