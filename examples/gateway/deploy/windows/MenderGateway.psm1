# What the scripts beside this file share.
Set-StrictMode -Version 2.0

# Names by which things are found again, and removed.
$script:Names = @{
  FirewallRule = 'MenderGateway-TCP-In'
  HyperVRule   = 'MenderGateway-HyperV-TCP-In'
  Task         = 'MenderGateway port proxy'
  Directory    = Join-Path $env:ProgramFiles 'MenderGateway'  # only administrators write there
}
# The fixed identifier of WSL as a creator of virtual machines.
$script:WslCreator = '{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}'

function Get-GatewayNames { $script:Names }
function Get-WslCreator { $script:WslCreator }

function Get-IniValue {
  # The value of a key in a section of an INI text, $null if there is none.
  param([string[]]$Lines, [string]$Section, [string]$Key)
  $here = ''
  foreach ($line in $Lines) {
    if ($line -match '^\s*\[([^\]]+)\]') { $here = $Matches[1].Trim() }
    elseif ($here -eq $Section -and $line -match "^\s*$([regex]::Escape($Key))\s*=\s*(.*?)\s*$") { return $Matches[1] }
  }
  return $null
}

function Set-IniValue {
  # The text with that value; with $null, without that key. All other lines stay.
  param([string[]]$Lines, [string]$Section, [string]$Key, $Value)
  $out = New-Object System.Collections.Generic.List[string]
  $here = ''
  $done = $null -eq $Value
  foreach ($line in $Lines) {
    if ($line -match '^\s*\[([^\]]+)\]') {
      $here = $Matches[1].Trim()
      $out.Add($line)
      if ($here -eq $Section -and -not $done) { $out.Add("$Key=$Value"); $done = $true }
      continue
    }
    if ($here -eq $Section -and $line -match "^\s*$([regex]::Escape($Key))\s*=") { continue }
    $out.Add($line)
  }
  if (-not $done) { $out.Add("[$Section]"); $out.Add("$Key=$Value") }
  return , $out.ToArray()
}

function Read-State {
  # What Enable-MenderGateway.ps1 has done, $null if nothing.
  $file = Join-Path $script:Names.Directory 'state.json'
  if (-not (Test-Path -LiteralPath $file)) { return $null }
  return Get-Content -LiteralPath $file -Raw | ConvertFrom-Json
}

function Write-State {
  param([hashtable]$State)
  New-Item -ItemType Directory -Force -Path $script:Names.Directory | Out-Null
  $State | ConvertTo-Json | Set-Content -LiteralPath (Join-Path $script:Names.Directory 'state.json') -Encoding ASCII
}

Export-ModuleMember -Function @('Get-GatewayNames', 'Get-WslCreator', 'Get-IniValue', 'Set-IniValue', 'Read-State', 'Write-State')
